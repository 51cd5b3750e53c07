//! A proxy that flips one bit of what a server sends for a dump.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const COM_BINLOG_DUMP: u8 = 0x12;

/// For one connection; it ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// `byte` is counted from the first that the server sends after the dump was asked for.
    pub(crate) async fn start(server: u16, byte: usize, bit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            relay(client, server, byte, bit).await;
        });
        Self { port, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, server: TcpStream, byte: usize, bit: usize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut sent = None;
    loop {
        tokio::select! {
            read = from_client.read(&mut up) => {
                let count = read.unwrap_or(0);
                if count == 0 {
                    return;
                }
                if up[4] == COM_BINLOG_DUMP && count > 5 {
                    sent = Some(0);
                }
                to_server.write_all(&up[..count]).await.unwrap();
            }
            read = from_server.read(&mut down) => {
                let count = read.unwrap_or(0);
                if count == 0 {
                    return;
                }
                if let Some(before) = sent {
                    if (before..before + count).contains(&byte) {
                        down[byte - before] ^= 1 << bit;
                    }
                    sent = Some(before + count);
                }
                if to_client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
            // The server has said all, and the client waits for what a flipped length promises.
            () = tokio::time::sleep(Duration::from_millis(300)), if sent.is_some() => return,
        }
    }
}
