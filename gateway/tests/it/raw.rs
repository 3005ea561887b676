//! A connection whose every byte is the test's own.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::PATIENCE;

pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        Ok(Self { stream: TcpStream::connect(addr).await?, read: Vec::new() })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Sends a GraphQL request.
    pub async fn post(&mut self, key: &str, body: &str) -> Result<()> {
        let length = body.len();
        self.send(format!(
            "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// The next answer: its head in lower case, and its body.
    pub async fn answer(&mut self) -> Result<(String, String)> {
        let head_end = loop {
            match self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await?,
            }
        };
        let head: Vec<u8> = self.read.drain(..head_end).collect();
        let head = String::from_utf8(head)?.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        while self.read.len() < length {
            self.more().await?;
        }
        Ok((head, String::from_utf8(self.read.drain(..length).collect())?))
    }

    /// What still comes until the gateway hangs up.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.read);
        let end = timeout(PATIENCE, self.stream.read_to_end(&mut rest));
        match end.await.context("it is not hung up on")? {
            Ok(_) => Ok(rest),
            // What was sent and not read any more is answered so.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(rest),
            Err(error) => Err(error.into()),
        }
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.read);
        let count = timeout(PATIENCE, read).await.context("nothing came")??;
        (count > 0).then_some(()).context("the gateway hung up")
    }
}
