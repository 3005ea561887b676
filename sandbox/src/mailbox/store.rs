//! The mails and keys that are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::mail::Mail;

const MAX_MAILS: usize = 100_000;
const MAX_BYTES: usize = 256 << 20;
const MAX_KEYS: usize = 100_000;

/// How many mails there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Accepted since the start; replayed requests don't count.
    pub received: u64,
    /// Kept now.
    pub kept: u64,
    /// Dropped to make room.
    pub dropped: u64,
    /// Requests answered with the id of an earlier one.
    pub replayed: u64,
}

/// What became of a mail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    New(Uuid),
    Replayed(Uuid),
    /// Its key stands for another body.
    Conflict,
}

/// Which mails to list.
pub(super) struct Listing<'a> {
    /// Recipient's address, without the name.
    pub to: Option<&'a str>,
    pub after: Option<Uuid>,
    pub limit: usize,
}

#[derive(Default)]
pub(super) struct Store {
    /// Ids ascend.
    mails: VecDeque<Arc<Mail>>,
    bytes: usize,
    keys: HashMap<Arc<str>, ([u8; 32], Uuid)>,
    /// The keys, oldest first.
    key_order: VecDeque<Arc<str>>,
    counts: Counts,
}

impl Store {
    /// Keeps a mail. `fingerprint` is equal for equal bodies.
    pub fn accept(&mut self, mut mail: Mail, fingerprint: [u8; 32]) -> Accepted {
        if let Some((first, id)) = mail.idempotency_key.as_deref().and_then(|k| self.keys.get(k)) {
            if *first != fingerprint {
                return Accepted::Conflict;
            }
            self.counts.replayed += 1;
            return Accepted::Replayed(*id);
        }
        mail.id = Uuid::now_v7();
        let id = mail.id;
        if let Some(key) = mail.idempotency_key.as_deref() {
            let key: Arc<str> = key.into();
            self.keys.insert(key.clone(), (fingerprint, id));
            self.key_order.push_back(key);
            if self.key_order.len() > MAX_KEYS
                && let Some(oldest) = self.key_order.pop_front()
            {
                self.keys.remove(&oldest);
            }
        }
        self.bytes += mail.size();
        self.mails.push_back(Arc::new(mail));
        self.counts.received += 1;
        while self.mails.len() > MAX_MAILS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.mails.pop_front() else { break };
            self.bytes -= oldest.size();
            self.counts.dropped += 1;
        }
        Accepted::New(id)
    }

    pub fn mails(&self) -> Vec<Arc<Mail>> {
        self.mails.iter().cloned().collect()
    }

    pub fn mail(&self, id: Uuid) -> Option<Arc<Mail>> {
        let at = self.mails.binary_search_by_key(&id, |mail| mail.id).ok()?;
        self.mails.get(at).cloned()
    }

    /// Oldest first, and whether there are more.
    pub fn list(&self, listing: &Listing<'_>) -> (Vec<Arc<Mail>>, bool) {
        let start = listing.after.map_or(0, |id| self.mails.partition_point(|m| m.id <= id));
        let addressed = |mail: &&Arc<Mail>| {
            let to = |to: &str| mail.to.iter().any(|a| a.mail().eq_ignore_ascii_case(to));
            listing.to.is_none_or(to)
        };
        let mut found = self.mails.range(start..).filter(addressed).cloned();
        let mails = found.by_ref().take(listing.limit).collect();
        (mails, found.next().is_some())
    }

    /// Newest first, and whether there are more.
    pub fn newest(&self, before: Option<Uuid>, limit: usize) -> (Vec<Arc<Mail>>, bool) {
        let end =
            before.map_or(self.mails.len(), |id| self.mails.partition_point(|mail| mail.id < id));
        let mails: Vec<_> = self.mails.range(..end).rev().take(limit).cloned().collect();
        let more = mails.len() < end;
        (mails, more)
    }

    /// Forgets the mails; the keys stay, and so does the promise they stand for.
    pub fn clear(&mut self) {
        self.mails.clear();
        self.bytes = 0;
    }

    pub fn counts(&self) -> Counts {
        Counts { kept: self.mails.len() as u64, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mailbox::mail::read;

    fn mail(key: Option<String>, text: &str) -> Mail {
        let body = json!({ "from": "a@b.c", "to": "d@e.f", "subject": "s", "text": text });
        read(body, key).unwrap()
    }

    #[test]
    fn the_oldest_mails_and_keys_make_room_for_new_ones() {
        let mut store = Store::default();
        for i in 0..=MAX_MAILS {
            store.accept(mail(Some(format!("key-{i}")), ""), [0; 32]);
        }
        let counts = store.counts();
        assert_eq!((counts.received, counts.kept, counts.dropped), (100_001, 100_000, 1));
        let replayed = store.accept(mail(Some("key-1".into()), ""), [0; 32]);
        assert!(matches!(replayed, Accepted::Replayed(_)));
        assert_eq!((store.keys.len(), store.key_order.len()), (MAX_KEYS, MAX_KEYS));
        assert!(matches!(store.accept(mail(Some("key-0".into()), ""), [0; 32]), Accepted::New(_)));
    }

    #[test]
    fn large_mails_are_bounded_by_their_bytes() {
        let mut store = Store::default();
        let text = "x".repeat(1 << 20);
        for _ in 0..300 {
            store.accept(mail(None, &text), [0; 32]);
        }
        assert!(store.bytes <= MAX_BYTES && store.bytes > MAX_BYTES - (2 << 20));
        assert_eq!(store.bytes, store.mails.iter().map(|mail| mail.size()).sum::<usize>());
        assert_eq!(store.counts().dropped + store.counts().kept, 300);
    }

    #[test]
    fn pages_meet_without_gap_or_repeat_in_both_directions() {
        let mut store = Store::default();
        for _ in 0..25 {
            store.accept(mail(None, ""), [0; 32]);
        }
        let all: Vec<_> = store.mails().iter().map(|mail| mail.id).collect();
        let (mut forward, mut after) = (Vec::new(), None);
        loop {
            let (mails, more) = store.list(&Listing { to: None, after, limit: 10 });
            forward.extend(mails.iter().map(|mail| mail.id));
            after = forward.last().copied();
            if !more {
                break;
            }
        }
        assert_eq!(forward, all);
        let (mut backward, mut before) = (Vec::new(), None);
        loop {
            let (mails, more) = store.newest(before, 10);
            backward.extend(mails.iter().map(|mail| mail.id));
            before = backward.last().copied();
            if !more {
                break;
            }
        }
        backward.reverse();
        assert_eq!(backward, all);
    }
}
