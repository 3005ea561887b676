//! As little of an HTTP/1.1 client as the bench needs.
//!
//! It shares the machine with the gateway and the broker, so what it costs, the gateway lacks. A
//! client for all cases builds, copies and parses headers for each request, and hands connections
//! over to tasks of its own: more than the gateway itself does. Here a request is a buffer that is
//! written as it is, the answer's head is searched for two things, and an order is one write and
//! one read of the socket.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers up to this size need one buffer and, if they come at once, one read.
const BUFFER: usize = 64 << 10;
/// How much of an unexpected answer is shown.
const SHOWN: usize = 500;

/// A connection that is kept, for one request at a time.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to `addr`.
    pub async fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.context("connecting to the gateway")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(BUFFER) })
    }

    /// Sends `request`, head and body, and reads the answer to its end; its body, where the status
    /// is 200.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&str> {
        self.stream.write_all(request).await.context("asking the gateway")?;
        self.answer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::find(&self.answer)? {
                break head;
            }
        };
        while self.answer.len() < head.length + head.body {
            self.read().await?;
        }
        let body = std::str::from_utf8(&self.answer[head.length..]).context("the answer")?;
        if head.status != 200 {
            bail!("the gateway answers with {}: {}", head.status, excerpt(body));
        }
        Ok(body)
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.answer).await.context("the gateway's answer")? {
            0 => bail!("the gateway closed a connection"),
            _ => Ok(()),
        }
    }
}

/// The beginning of a text that may be long.
pub fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// What the head of an answer tells.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head, the empty line included.
    length: usize,
    /// Bytes of the body.
    body: usize,
}

impl Head {
    /// `None` where it has not come to its end.
    fn find(answer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&answer[..end]).context("the head of an answer")?;
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        let body = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        match (status, body) {
            (Some(status), Some(body)) => Ok(Some(Self { status, length: end + 4, body })),
            // Bodies of a length that nobody tells end in other ways; the gateway has none.
            _ => bail!("an answer without status or content-length: {}", excerpt(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_head_tells_the_status_and_where_the_body_ends() {
        let answer = b"HTTP/1.1 200 OK\r\nvary: accept\r\nContent-Length: 2\r\n\r\n{}";
        let head = Head { status: 200, length: answer.len() - 2, body: 2 };
        assert_eq!(Head::find(answer).unwrap(), Some(head));
        assert_eq!(Head::find(b"HTTP/1.1 200 OK\r\nvary: a").unwrap(), None);
        assert!(Head::find(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::find(b"HTTP/1.1\r\ncontent-length: 2\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn answers_are_read_to_their_end_in_however_many_pieces_they_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 3];
            for (pieces, status) in [(&["{\"a", "\":1}"][..], "200"), (&["{}"], "503")] {
                stream.read_exact(&mut request).await.unwrap();
                let length: usize = pieces.iter().map(|piece| piece.len()).sum();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
                let (start, rest) = head.split_at(20);
                for piece in [start, rest].iter().chain(pieces) {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            stream.read_exact(&mut request).await.unwrap();
        });
        let mut connection = Connection::open(addr).await.unwrap();
        assert_eq!(connection.ask(b"one").await.unwrap(), "{\"a\":1}");
        let refused = connection.ask(b"two").await.unwrap_err().to_string();
        assert!(refused.contains("503"), "{refused}");
        let closed = connection.ask(b"six").await.unwrap_err().to_string();
        assert!(closed.contains("closed"), "{closed}");
        serving.await.unwrap();
    }
}
