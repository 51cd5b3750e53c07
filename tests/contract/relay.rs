//! A wire that can be cut: passes bytes on to a server, and misbehaves as it is told.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What happens to one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// Everything is passed on.
    Pass,
    /// The request arrives, the server acts on it, and its answer is lost.
    LoseAnswer,
    /// Cut after some bytes of the request.
    CutRequest(usize),
    /// The relay answers instead of the server, with this status and S3 code.
    Answer(u16, &'static str),
    /// Accepted, and never answered.
    Silence,
    /// The answer stops halfway through its body.
    CutAnswer(usize),
}

pub(crate) struct Relay {
    port: u16,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    connections: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// In front of a port of this machine; the fates are dealt to connections in turn.
    pub(crate) async fn to(port: u16, fates: impl IntoIterator<Item = Fate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let fates = Arc::new(Mutex::new(fates.into_iter().collect::<VecDeque<_>>()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (dealt, count) = (Arc::clone(&fates), Arc::clone(&connections));
        let cut = Arc::new(Notify::new());
        let cut_all = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let fate = dealt.lock().unwrap().pop_front().unwrap_or(Fate::Pass);
                let cut = Arc::clone(&cut_all);
                tokio::spawn(async move {
                    // What breaks here is meant to break.
                    tokio::select! {
                        _ = suffer(client, port, fate) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        Self { port: own, fates, connections, cut, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection, and deals these fates to the next ones.
    pub(crate) fn cut_all(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap() = fates.into_iter().collect();
        self.cut.notify_waiters();
    }

    /// How many fates nobody has met yet.
    pub(crate) fn left(&self) -> usize {
        self.fates.lock().unwrap().len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn suffer(mut client: TcpStream, port: u16, fate: Fate) -> std::io::Result<()> {
    let server = || TcpStream::connect(("127.0.0.1", port));
    match fate {
        Fate::Pass => copy_bidirectional(&mut client, &mut server().await?).await.map(drop),
        Fate::LoseAnswer => {
            let mut server = server().await?;
            let (mut from_client, _to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut first = [0; 1];
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                _ = from_server.read(&mut first) => {}
            }
            Ok(())
        }
        Fate::CutRequest(bytes) => {
            let mut server = server().await?;
            let mut seen = vec![0; bytes];
            client.read_exact(&mut seen).await?;
            server.write_all(&seen).await
        }
        Fate::CutAnswer(bytes) => {
            let mut server = server().await?;
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut seen = vec![0; bytes];
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                _ = from_server.read_exact(&mut seen) => {}
            }
            to_client.write_all(&seen).await
        }
        Fate::Answer(status, code) => {
            let mut seen = vec![0; 64 * 1024];
            let _ = client.read(&mut seen).await?;
            let body = format!("<Error><Code>{code}</Code><Message>scripted</Message></Error>");
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\ncontent-type: application/xml\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(head.as_bytes()).await?;
            client.shutdown().await
        }
        Fate::Silence => {
            tokio::time::sleep(Duration::from_mins(10)).await;
            Ok(())
        }
    }
}
