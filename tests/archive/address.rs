//! An address behind which one server or another answers, as a Service of Kubernetes: it sends
//! new connections elsewhere, and leaves those that stand.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

#[derive(Default)]
struct Shared {
    /// 0 is nobody.
    target: AtomicU16,
    /// Some connections lead here, if not 0.
    other: AtomicU16,
    /// Which of them.
    turns: AtomicU16,
    count: AtomicU16,
    open: Mutex<Vec<TcpStream>>,
}

/// The address; its threads end with the test process.
pub(crate) struct Address {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn of(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { target: target.into(), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut target = accepting.target.load(Ordering::SeqCst);
                let other = accepting.other.load(Ordering::SeqCst);
                let count = accepting.count.fetch_add(1, Ordering::SeqCst);
                let turns = accepting.turns.load(Ordering::SeqCst);
                if other != 0 && count.wrapping_mul(turns) >> 15 == 1 {
                    target = other;
                }
                if target == 0 {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                    accepting.open.lock().unwrap().extend(both);
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        thread::spawn(move || pump(from, to));
                    }
                }
            }
        });
        Self { shared, port }
    }

    /// Sends new connections there.
    pub(crate) fn point(&self, target: u16) {
        self.alternate(target, 0, Self::BY_TURNS);
    }

    /// Every other connection leads elsewhere.
    pub(crate) const BY_TURNS: u16 = 1 << 15;
    /// About every other one does: whoever makes two at a time does not always meet the same.
    pub(crate) const BY_CHANCE: u16 = 40_503;

    /// Sends them now here, now there.
    pub(crate) fn alternate(&self, target: u16, other: u16, turns: u16) {
        self.shared.turns.store(turns, Ordering::SeqCst);
        self.shared.other.store(other, Ordering::SeqCst);
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Nobody answers.
    pub(crate) fn nobody(&self) {
        self.point(0);
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
