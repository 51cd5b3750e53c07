//! A wire between the program and its store that can be cut and held.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

const PASS: u8 = 0;
const HOLD: u8 = 1;
const CUT: u8 = 2;

#[derive(Default)]
struct Wire {
    mode: AtomicU8,
    /// Whether bytes from the other side are counted, and not those to it.
    counts_down: bool,
    /// Bytes before the fault; below zero is never.
    left: AtomicI64,
    fault: AtomicU8,
    outage: Mutex<Duration>,
    open: Mutex<Vec<TcpStream>>,
}

/// The proxy; its threads end with the test process.
pub(crate) struct Proxy {
    wire: Arc<Wire>,
    port: u16,
}

impl Proxy {
    pub(crate) fn before(upstream: u16) -> Self {
        Self::counting(upstream, false)
    }

    /// Before what sends much, and is sent little.
    pub(crate) fn before_source(upstream: u16) -> Self {
        Self::counting(upstream, true)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn counting(upstream: u16, counts_down: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(Wire { counts_down, left: AtomicI64::new(-1), ..Wire::default() });
        let shared = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.mode.load(Ordering::SeqCst) == CUT {
                    continue; // dropped, as by a store that is not there
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) {
                    connect(&shared, &client, &server);
                }
            }
        });
        Self { wire, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts every connection once so many bytes went up, and refuses new ones for a while.
    pub(crate) fn cut_after(&self, bytes: u64, outage: Duration) {
        self.fault_after(CUT, bytes, outage);
    }

    /// Holds everything back once so many bytes went up, for a while.
    pub(crate) fn hold_after(&self, bytes: u64, outage: Duration) {
        self.fault_after(HOLD, bytes, outage);
    }

    fn fault_after(&self, fault: u8, bytes: u64, outage: Duration) {
        *self.wire.outage.lock().unwrap() = outage;
        self.wire.fault.store(fault, Ordering::SeqCst);
        self.wire.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// No fault any more; whether there was one.
    pub(crate) fn heal(&self) -> bool {
        self.wire.mode.store(PASS, Ordering::SeqCst);
        self.wire.left.swap(-1, Ordering::SeqCst) < 0
    }
}

fn connect(wire: &Arc<Wire>, client: &TcpStream, server: &TcpStream) {
    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    wire.open.lock().unwrap().extend(both);
    for (from, to, up) in [(client, server, true), (server, client, false)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let wire = Arc::clone(wire);
        thread::spawn(move || pump(&wire, from, to, up));
    }
}

fn pump(wire: &Arc<Wire>, mut from: TcpStream, mut to: TcpStream, up: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut pass = count;
        if up != wire.counts_down && wire.left.load(Ordering::SeqCst) >= 0 {
            let before = wire.left.fetch_sub(i64::try_from(count).unwrap(), Ordering::SeqCst);
            let after = before - i64::try_from(count).unwrap();
            if before >= 0 && after < 0 {
                pass = usize::try_from(before).unwrap();
                let _ = to.write_all(&buffer[..pass]);
                begin(wire);
            }
        }
        while wire.mode.load(Ordering::SeqCst) == HOLD {
            thread::sleep(Duration::from_millis(5));
        }
        let rest = if pass == count { &buffer[..count] } else { &buffer[pass..count] };
        if to.write_all(rest).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn begin(wire: &Arc<Wire>) {
    let fault = wire.fault.load(Ordering::SeqCst);
    wire.mode.store(fault, Ordering::SeqCst);
    if fault == CUT {
        for stream in wire.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    let wire = Arc::clone(wire);
    thread::spawn(move || {
        let outage = *wire.outage.lock().unwrap();
        thread::sleep(outage);
        wire.mode.store(PASS, Ordering::SeqCst);
    });
}
