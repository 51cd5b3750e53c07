//! A wire between the archiver and its store that is cut, held, loses answers, or answers itself.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

const PASS: u8 = 0;
const HOLD: u8 = 1;
const CUT: u8 = 2;
const BUSY: u8 = 3;
const DEAF: u8 = 4;

#[derive(Default)]
struct Shared {
    mode: AtomicU8,
    open: Mutex<Vec<TcpStream>>,
}

/// The wire; its threads end with the test process.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    port: u16,
}

impl Wire {
    pub(crate) fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                match accepting.mode.load(Ordering::SeqCst) {
                    CUT => {}
                    BUSY => drop(thread::spawn(move || busy(client))),
                    _ => {
                        if let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) {
                            connect(&accepting, &client, &server);
                        }
                    }
                }
            }
        });
        Self { shared, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends all connections, and takes no new ones.
    pub(crate) async fn cut(&self, outage: Duration) {
        self.fault(CUT, outage).await;
    }

    /// Passes nothing on.
    pub(crate) async fn hold(&self, outage: Duration) {
        self.fault(HOLD, outage).await;
    }

    /// Passes requests on, which the store carries out, and loses its answers.
    pub(crate) async fn lose_answers(&self, outage: Duration) {
        self.fault(DEAF, outage).await;
    }

    /// Answers in the store's stead that it is busy.
    pub(crate) async fn answer_503(&self, outage: Duration) {
        self.fault(BUSY, outage).await;
    }

    async fn fault(&self, mode: u8, outage: Duration) {
        self.shared.mode.store(mode, Ordering::SeqCst);
        if matches!(mode, CUT | BUSY) {
            for stream in self.shared.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        tokio::time::sleep(outage).await;
        self.shared.mode.store(PASS, Ordering::SeqCst);
    }
}

fn busy(mut client: TcpStream) {
    let mut buffer = [0; 4096];
    let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = client.read(&mut buffer);
    let body =
        "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>later</Message></Error>";
    let answer = format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = client.write_all(answer.as_bytes());
    // What still comes is read, or the answer would be lost with a reset.
    while matches!(client.read(&mut buffer), Ok(1..)) {}
}

fn connect(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    shared.open.lock().unwrap().extend(both);
    for (from, to, answers) in [(client, server, false), (server, client, true)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(&shared, from, to, answers));
    }
}

fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream, answers: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while shared.mode.load(Ordering::SeqCst) == HOLD {
            thread::sleep(Duration::from_millis(5));
        }
        let lost = answers && shared.mode.load(Ordering::SeqCst) == DEAF;
        if lost || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
