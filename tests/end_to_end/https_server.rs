//! What cloudnative-mysql's manager is to a backup: `GET /cluster/backup` over TLS 1.3 with client
//! certificates, answered with 200 and a chunked xbstream.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    authority::{Authority, Identity},
    home::Home,
};

/// How the body ends.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Whole, and ended cleanly.
    Whole,
    /// The first part of it, and ended cleanly.
    CutCleanly(usize),
    /// Whole, with this behind it.
    Followed(&'static str),
    /// The first part of it, this text behind it, and ended cleanly: an engine failed, and HTTP did not.
    CutAndFollowed(usize, &'static str),
    /// The first part of it, and then the server is gone, as after SIGKILL.
    Killed(usize),
    /// The first part of it, and then silence.
    Stalled(usize),
    /// No stream but a status.
    Refused(&'static str),
}

/// Serves; returns the port. Its threads end with the test process.
pub(crate) fn serve(authority: &Authority, host: &str, stream: Arc<Vec<u8>>, body: Body) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    let config = authority.sign(folder.path(), "server", host).server_config();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (config, stream, body) = (Arc::clone(&config), Arc::clone(&stream), body.clone());
            thread::spawn(move || {
                // A client that we refuse breaks the connection: that is what is tested.
                let _ = answer(socket, config, &stream, &body);
            });
        }
    });
    port
}

/// An answer that has begun.
pub(crate) type Answer = StreamOwned<ServerConnection, TcpStream>;

/// Reads a request; nothing when it was not for the stream, and was answered so.
pub(crate) fn asked(
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> std::io::Result<Option<Answer>> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    if request.starts_with(b"GET /cluster/backup HTTP/1.1\r\n") {
        return Ok(Some(tls));
    }
    tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
    Ok(None)
}

pub(crate) fn begin(tls: &mut Answer) -> std::io::Result<()> {
    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
}

pub(crate) fn piece(tls: &mut Answer, bytes: &[u8]) -> std::io::Result<()> {
    write!(tls, "{:x}\r\n", bytes.len())?;
    tls.write_all(bytes)?;
    tls.write_all(b"\r\n")
}

pub(crate) fn end(tls: &mut Answer) -> std::io::Result<()> {
    tls.write_all(b"0\r\n\r\n")?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn answer(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    stream: &[u8],
    body: &Body,
) -> std::io::Result<()> {
    let raw = socket.try_clone()?;
    let Some(mut tls) = asked(socket, config)? else { return Ok(()) };
    if let Body::Refused(status) = body {
        let text =
            format!("HTTP/1.1 {status}\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno backup");
        tls.write_all(&text.as_bytes()[..text.len() - 1])?;
        tls.conn.send_close_notify();
        return tls.flush();
    }
    begin(&mut tls)?;
    let sent = match body {
        Body::CutCleanly(n) | Body::CutAndFollowed(n, _) | Body::Killed(n) | Body::Stalled(n) => {
            &stream[..*n.min(&stream.len())]
        }
        _ => stream,
    };
    for bytes in sent.chunks(32 << 10) {
        piece(&mut tls, bytes)?;
    }
    match body {
        Body::Killed(_) => return raw.shutdown(Shutdown::Both),
        Body::Stalled(_) => {
            tls.flush()?;
            thread::sleep(Duration::from_mins(10));
        }
        Body::Followed(text) | Body::CutAndFollowed(_, text) => piece(&mut tls, text.as_bytes())?,
        _ => {}
    }
    end(&mut tls)
}

/// The arguments of a backup from such a server, as client `client`.
pub(crate) fn source(
    home: &Home,
    host: &str,
    port: u16,
    client: &str,
    engine: &str,
) -> Vec<String> {
    let files = Identity::at(home.dir.path(), client);
    let text = |path: &std::path::Path| path.display().to_string();
    let url = format!("https://{host}:{port}");
    let args = ["backup", "--source", &url, "--engine", engine, "--source-ca", &text(&files.ca)];
    let mut args = args.map(ToOwned::to_owned).to_vec();
    if files.certificate.exists() {
        args.extend(["--source-cert".into(), text(&files.certificate)]);
        args.extend(["--source-key".into(), text(&files.key)]);
    }
    args
}
