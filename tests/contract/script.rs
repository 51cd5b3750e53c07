//! A scripted object store: the part of the XML API, common to Google and S3, that is needed
//! here. Honest by default; it also lies, and fails, on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

/// How it deals with a write that asks not to overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conscience {
    Honest,
    /// Overwrites, and says that all is well.
    Ignores,
    /// Says that it refused, and overwrites all the same.
    Feigns,
}

#[derive(Debug)]
struct Shelf {
    conscience: Conscience,
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    failures: Vec<u16>,
    requests: usize,
    puts: usize,
    last_put: HeaderMap,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Script {
    shelf: Arc<Mutex<Shelf>>,
    port: u16,
}

/// What a page of a listing holds; small, so that there are many.
const PAGE: usize = 100;

impl Script {
    pub(crate) async fn start(conscience: Conscience) -> Self {
        Self::start_behind(conscience, |app| app).await
    }

    /// The same, behind a door of somebody's.
    pub(crate) async fn start_behind(
        conscience: Conscience,
        door: impl FnOnce(Router) -> Router,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Arc::new(Mutex::new(Shelf {
            conscience,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            failures: Vec::new(),
            requests: 0,
            puts: 0,
            last_put: HeaderMap::new(),
        }));
        let app = door(Router::new().fallback(serve).with_state(Arc::clone(&shelf)));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { shelf, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next requests fail with these statuses, the last one first.
    pub(crate) fn fail(&self, statuses: &[u16]) {
        self.shelf.lock().unwrap().failures = statuses.to_vec();
    }

    pub(crate) fn requests(&self) -> usize {
        self.shelf.lock().unwrap().requests
    }

    pub(crate) fn puts(&self) -> usize {
        self.shelf.lock().unwrap().puts
    }

    /// The headers of the last thing that was put there.
    pub(crate) fn last_put(&self) -> HeaderMap {
        self.shelf.lock().unwrap().last_put.clone()
    }

    /// How many uploads were begun and neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> usize {
        self.shelf.lock().unwrap().uploads.len()
    }
}

async fn serve(State(shelf): State<Arc<Mutex<Shelf>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let url = url::Url::parse(&format!("http://host{}", parts.uri)).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let path = percent_encoding::percent_decode_str(url.path()).decode_utf8().unwrap().into_owned();
    let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let mut shelf = shelf.lock().unwrap();
    shelf.requests += 1;
    if parts.method == Method::PUT {
        shelf.puts += 1;
        shelf.last_put = parts.headers.clone();
    }
    if let Some(status) = shelf.failures.pop() {
        return error(status, "Scripted");
    }
    if bucket == "missing" {
        return error(404, "NoSuchBucket");
    }
    if bucket == "forbidden" {
        return error(403, "AccessDenied");
    }
    match (&parts.method, query.get("uploadId"), key) {
        (&Method::GET, None, "") => shelf.list(&query),
        (&Method::POST, None, key) => shelf.begin(key),
        (&Method::PUT, Some(id), _) => shelf.part(id, &query, body),
        (&Method::POST, Some(id), key) => shelf.complete(id, key, &body),
        (&Method::DELETE, Some(id), _) => match shelf.uploads.remove(id) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(404, "NoSuchUpload"),
        },
        (&Method::PUT, None, key) => shelf.put(key, &parts.headers, body),
        (&Method::GET | &Method::HEAD, None, key) => shelf.get(key, &parts.headers),
        (&Method::DELETE, None, key) => match shelf.objects.remove(key) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(404, "NoSuchKey"),
        },
        _ => error(405, "MethodNotAllowed"),
    }
}

fn error(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>scripted</Message></Error>");
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

const WRITTEN: [(&str, &str); 2] = [("etag", "\"an-etag\""), ("x-goog-generation", "1")];

impl Shelf {
    fn put(&mut self, key: &str, headers: &HeaderMap, body: Bytes) -> Response {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|v| v == value);
        let conditional = is("x-goog-if-generation-match", "0") || is("if-none-match", "*");
        let taken = conditional && self.objects.contains_key(key);
        if taken && self.conscience == Conscience::Honest {
            return error(412, "PreconditionFailed");
        }
        self.objects.insert(key.to_owned(), body);
        if taken && self.conscience == Conscience::Feigns {
            return error(412, "PreconditionFailed");
        }
        WRITTEN.into_response()
    }

    fn get(&self, key: &str, headers: &HeaderMap) -> Response {
        let Some(body) = self.objects.get(key) else { return error(404, "NoSuchKey") };
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let stamp = [("last-modified", date), ("etag", "\"an-etag\"".to_owned())];
        let Some(range) = headers.get("range") else {
            return (stamp, body.clone()).into_response();
        };
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        if start >= body.len() {
            return error(416, "InvalidRange");
        }
        let end = end.min(body.len() - 1);
        let told = [("content-range", format!("bytes {start}-{end}/{}", body.len()))];
        (StatusCode::PARTIAL_CONTENT, stamp, told, body.slice(start..=end)).into_response()
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let after = text("start-after").max(text("continuation-token"));
        let (mut page, mut folders, mut last) = (String::new(), BTreeSet::new(), None);
        let found =
            self.objects.iter().filter(|(k, _)| k.starts_with(prefix) && k.as_str() > after);
        for (shown, (key, body)) in found.enumerate() {
            if shown == PAGE {
                last =
                    last.map(|key| format!("<NextContinuationToken>{key}</NextContinuationToken>"));
                break;
            }
            last = Some(key.clone());
            match key[prefix.len()..].split_once('/') {
                Some((folder, _)) if delimiter == "/" => {
                    folders.insert(format!("{prefix}{folder}/"));
                }
                _ => write!(
                    page,
                    "<Contents><Key>{key}</Key><Size>{}</Size><ETag>e</ETag>\
                     <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
                    body.len()
                )
                .unwrap(),
            }
        }
        for folder in folders {
            write!(page, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
        }
        let next = last.filter(|token| token.starts_with('<')).unwrap_or_default();
        format!("<ListBucketResult>{page}{next}</ListBucketResult>").into_response()
    }

    fn begin(&mut self, key: &str) -> Response {
        let id = format!("upload-{}", self.requests);
        self.uploads.insert(id.clone(), BTreeMap::new());
        format!(
            "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{key}</Key>\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        )
        .into_response()
    }

    fn part(&mut self, id: &str, query: &BTreeMap<String, String>, body: Bytes) -> Response {
        let Some(parts) = self.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
        let number = &query["partNumber"];
        parts.insert(number.parse().unwrap(), body);
        [("etag", format!("\"part-{number}\""))].into_response()
    }

    fn complete(&mut self, id: &str, key: &str, list: &Bytes) -> Response {
        let Some(parts) = self.uploads.remove(id) else { return error(404, "NoSuchUpload") };
        let list = String::from_utf8_lossy(list);
        let named: Vec<u32> = list
            .split("<PartNumber>")
            .skip(1)
            .map(|rest| rest.split('<').next().unwrap().parse().unwrap())
            .collect();
        if !named.iter().eq(parts.keys()) {
            return error(400, "InvalidPart");
        }
        let whole: Vec<u8> = parts.values().flatten().copied().collect();
        self.objects.insert(key.to_owned(), whole.into());
        let done = "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><Location>l</Location>\
                    <ETag>e</ETag></CompleteMultipartUploadResult>";
        (WRITTEN, done).into_response()
    }
}
