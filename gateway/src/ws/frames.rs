//! Where one message ends and the next begins, told from the bytes as they come (RFC 6455 §5.2).
//!
//! The WebSocket library tells of a message once it is whole. This counts what has come of one that
//! is not, and since when; and how many control frames there were, which the library answers itself.

use std::time::Instant;

/// Longest head of a frame.
const MAX_HEAD: usize = 14;

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; MAX_HEAD],
    head_len: usize,
    /// Bytes of the payload of the frame that are still to come.
    payload_left: u64,
    is_in_frame: bool,
    /// A message came in part: a frame that was not its last.
    is_in_message: bool,
    unfinished: usize,
    since: Option<Instant>,
    control_frames: u32,
}

impl Frames {
    /// Takes the bytes that came next.
    pub fn take(&mut self, mut bytes: &[u8]) {
        if !bytes.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
        while let Some((first, rest)) = bytes.split_first() {
            if self.is_in_frame {
                let part =
                    bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= part as u64;
                self.unfinished += part;
                bytes = &bytes[part..];
            } else {
                self.head[self.head_len] = *first;
                self.head_len += 1;
                bytes = rest;
                self.is_in_frame = self.head_len == self.head_size();
                if self.is_in_frame {
                    self.payload_left = self.payload_size();
                }
            }
            if self.is_in_frame && self.payload_left == 0 {
                self.end_frame();
                if !self.is_in_message {
                    self.since = (!bytes.is_empty()).then(Instant::now);
                }
            }
        }
    }

    /// Bytes of the message, or of the frame, that is not whole yet.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// The least that the message will have, by what its frame says of itself.
    pub fn claimed(&self) -> usize {
        self.unfinished.saturating_add(usize::try_from(self.payload_left).unwrap_or(usize::MAX))
    }

    /// Since when there is something that is not whole.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Control frames since this was asked last.
    pub fn take_control_frames(&mut self) -> u32 {
        std::mem::take(&mut self.control_frames)
    }

    fn end_frame(&mut self) {
        let is_control = self.head[0] & 0x08 != 0;
        let is_final = self.head[0] & 0x80 != 0;
        if is_control {
            self.control_frames = self.control_frames.saturating_add(1);
            let size = usize::try_from(self.payload_size()).unwrap_or(usize::MAX);
            self.unfinished = self.unfinished.saturating_sub(size);
        } else {
            self.is_in_message = !is_final;
            if is_final {
                self.unfinished = 0;
            }
        }
        self.is_in_frame = false;
        self.head_len = 0;
    }

    /// Bytes of the head, as far as is known of it.
    fn head_size(&self) -> usize {
        let [_, second, ..] = self.head;
        let length = match second & 0x7f {
            _ if self.head_len < 2 => return 2,
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_size(&self) -> u64 {
        let [_, second, a, b, ..] = self.head;
        match second & 0x7f {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => self.head[2..10].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)),
            size => size.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    use super::*;

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);

    fn frame(opcode: OpCode, is_final: bool, size: usize) -> Vec<u8> {
        let mask = Some([1, 2, 3, 4]);
        let header = FrameHeader { is_final, opcode, mask, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, vec![b'x'; size].into()).format(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_message_is_unfinished_until_its_last_frame_is_whole() {
        let mut frames = Frames::default();
        assert_eq!((frames.unfinished(), frames.since()), (0, None));
        frames.take(&frame(TEXT, false, 100));
        let since = frames.since();
        assert_eq!((frames.unfinished(), since.is_some()), (100, true));
        frames.take(&frame(PING, true, 5));
        assert_eq!((frames.unfinished(), frames.since()), (100, since), "a ping ends nothing");
        let (last, end) = (frame(MORE, true, 70_000), 10);
        frames.take(&last[..last.len() - end]);
        assert_eq!(frames.unfinished(), 100 + 70_000 - end);
        frames.take(&last[last.len() - end..]);
        assert_eq!((frames.unfinished(), frames.since()), (0, None));
        assert_eq!((frames.take_control_frames(), frames.take_control_frames()), (1, 0));
        frames.take(&frame(TEXT, true, 3)[..1]);
        assert!(frames.since().is_some(), "half a head");
    }

    #[test]
    fn empty_frames_and_the_longest_claim_are_read_as_they_are() {
        let mut frames = Frames::default();
        frames.take(&frame(TEXT, false, 0));
        frames.take(&frame(MORE, false, 0));
        assert!(frames.since().is_some());
        frames.take(&frame(MORE, true, 0));
        assert_eq!((frames.unfinished(), frames.since()), (0, None));
        let mut claim = vec![0x81, 0xff];
        claim.extend([0xff; 12]);
        frames.take(&claim);
        frames.take(&[0; 50]);
        assert_eq!((frames.unfinished(), frames.claimed()), (50, usize::MAX));
    }

    proptest! {
        /// However the bytes are cut.
        #[test]
        fn whole_messages_leave_nothing_unfinished(
            sizes in prop::collection::vec((0..70_000usize, 0..3u8), 1..6),
            cuts in prop::collection::vec(1..40_000usize, 1..50),
        ) {
            let mut bytes = Vec::new();
            for (size, pings) in &sizes {
                bytes.extend(frame(TEXT, false, *size));
                (0..*pings).for_each(|_| bytes.extend(frame(PING, true, size % 126)));
                bytes.extend(frame(MORE, true, size / 2));
            }
            let mut frames = Frames::default();
            let mut cuts = cuts.into_iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                frames.take(now);
                rest = later;
            }
            let pings: u32 = sizes.iter().map(|(_, pings)| u32::from(*pings)).sum();
            prop_assert_eq!((frames.unfinished(), frames.since()), (0, None));
            prop_assert_eq!(frames.take_control_frames(), pings);
        }
    }
}
