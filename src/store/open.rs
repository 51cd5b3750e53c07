//! From a URL to a store.

use std::{path::Path, sync::Arc, time::Duration};

use url::Url;

use crate::transport::{Dialer, DialerOptions, Plaintext, Roots, TlsOptions, is_loopback};

use super::{
    Key, Store, StoreError, StoreErrorKind, StoreOptions,
    backend::{Backend, Fault},
    cloud,
    local::{self, Local},
    memory::Memory,
    repository::Repository,
    retry::Retry,
    s3,
};

const SHAPES: &str = "expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, \
                      file:///ABSOLUTE/PATH or memory:";

/// A bucket, and the keys in it that belong to the repository.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// Empty, or ends in `/`.
    pub(super) prefix: String,
}

impl Place {
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The key of the repository behind a name in the bucket; others' names are none of ours.
    pub(super) fn key(&self, full: &str) -> Option<Key> {
        Key::new(full.strip_prefix(&self.prefix)?).ok()
    }
}

/// Opens the store that a repository's URL names: `s3://bucket/prefix`, `gs://bucket/prefix`,
/// `az://container/prefix`, `file:///absolute/path`, or `memory:` (a new empty one each time).
///
/// Nothing is asked of a remote store yet, so a bucket that is not there shows itself in the
/// first call. The folder above a `file:` repository has to exist; the repository's own is
/// made at the first write, and until then is empty.
///
/// # Errors
/// When the URL, an option, or a file that an option names, cannot be used. What stands in
/// a URL's place for a user and password is refused, and not repeated.
pub async fn open(url: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let refused = |url: &str, fault: Fault| {
        let mut error = StoreError::new(fault.kind, "open", url, fault.cause);
        error.hint = fault.hint;
        error
    };
    let url = parse(url).map_err(|fault| refused("the repository", fault))?;
    let shown = url.as_str().trim_end_matches('/').to_owned();
    let backend = backend(&url, options).await.map_err(|fault| refused(&shown, fault))?;
    let retry = Arc::new(match url.scheme() {
        "file" | "memory" => once(),
        _ => patient(options),
    });
    Ok(Arc::new(Repository { url: shown, backend, retry }))
}

async fn backend(url: &Url, options: &StoreOptions) -> Result<Arc<dyn Backend>, Fault> {
    check_endpoint(options)?;
    Ok(match url.scheme() {
        "memory" => Arc::new(Memory::default()),
        "file" => {
            let root = local::root_of(url).ok_or_else(|| configuration(SHAPES))?;
            Arc::new(Local::new(&root)?)
        }
        "s3" => Arc::new(s3::connect(place(url)?, options).await?),
        "gs" => Arc::new(cloud::google(place(url)?, options)?),
        "az" => Arc::new(cloud::azure(place(url)?, options)?),
        other => return Err(configuration(format!("no store is called `{other}`; {SHAPES}"))),
    })
}

fn parse(text: &str) -> Result<Url, Fault> {
    // The text is not repeated: a URL that does not parse may still hold a password.
    let url = Url::parse(text)
        .map_err(|error| configuration(format!("the URL cannot be read ({error}); {SHAPES}")))?;
    // The parser would quietly take `file:a` for `file:///a`.
    if url.scheme() == "file" && !text.starts_with("file:///") {
        return Err(configuration(SHAPES));
    }
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err(configuration(format!(
            "the URL holds a user, a password, a port or parameters; {SHAPES}"
        ))
        .hint("credentials come from the environment or a file, addresses from --store-endpoint"))
    }
}

fn place(url: &Url) -> Result<Place, Fault> {
    let bucket = url.host_str().unwrap_or_default().to_owned();
    let prefix = url.path().trim_matches('/');
    if bucket.is_empty() {
        return Err(configuration(format!("the URL names no bucket; {SHAPES}")));
    }
    if prefix.is_empty() {
        return Ok(Place { bucket, prefix: String::new() });
    }
    let prefix = Key::new(prefix).map_err(|error| configuration(error.to_string()))?;
    Ok(Place { bucket, prefix: format!("{prefix}/") })
}

fn check_endpoint(options: &StoreOptions) -> Result<(), Fault> {
    let Some(endpoint) = &options.endpoint else { return Ok(()) };
    let good = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
    };
    match Url::parse(endpoint).ok().filter(good) {
        Some(url) => may_be_plain(&url, options.allow_plaintext),
        None => {
            Err(configuration("the endpoint is not of the form http://HOST[:PORT] or https://…"))
        }
    }
}

/// Without TLS only this machine is reached, unless somebody has said otherwise.
pub(super) fn may_be_plain(url: &Url, anywhere: bool) -> Result<(), Fault> {
    let host = url.host_str().unwrap_or_default();
    if url.scheme() == "https" || anywhere || is_loopback(host) {
        return Ok(());
    }
    Err(configuration(format!("the endpoint {}://{host} has no TLS", url.scheme())).hint(
        "give an https:// endpoint, and --store-ca when a private authority signed its certificate; \
         --allow-plaintext-store sends credentials' signatures and metadata in the clear",
    ))
}

/// How the store is reached.
pub(super) fn dialer(options: &StoreOptions, plaintext: Plaintext) -> Result<Dialer, Fault> {
    let roots = options.ca_file.clone().map_or(Roots::System, Roots::SystemAnd);
    let dialer = Dialer::new(&DialerOptions {
        tls: TlsOptions { roots, ..TlsOptions::default() },
        plaintext,
        patience: options.connect_timeout,
        ..DialerOptions::default()
    });
    dialer.map_err(|error| configuration(error.to_string()).hint("check --store-ca"))
}

pub(super) fn configuration(text: impl Into<String>) -> Fault {
    Fault::new(StoreErrorKind::Configuration, text)
}

pub(super) fn read_file(what: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path)
        .map_err(|error| configuration(format!("{what} {}: {error}", path.display())))
}

/// A variable that is set to something.
pub(super) fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A disk neither stalls for long nor recovers; a large file may take its time to be flushed.
fn once() -> Retry {
    Retry {
        budget: Duration::MAX,
        attempts: 1,
        stall: Duration::MAX,
        first_pause: Duration::ZERO,
        longest_pause: Duration::ZERO,
    }
}

fn patient(options: &StoreOptions) -> Retry {
    Retry {
        budget: options.retry_for,
        attempts: options.attempts.max(1),
        stall: options.stall_timeout,
        first_pause: Duration::from_millis(200),
        longest_pause: Duration::from_secs(15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> StoreError {
        let error = open(url, &StoreOptions::default()).await.expect_err(url);
        assert_eq!(error.kind, StoreErrorKind::Configuration, "{error}");
        error
    }

    #[tokio::test]
    async fn urls_that_name_no_repository_are_refused() {
        for url in
            ["", "bucket", "ftp://a/b", "s3://", "s3:///a", "s3://b/a b", "file:rel", "file:///"]
        {
            refused(url).await;
        }
    }

    #[tokio::test]
    async fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in ["s3://id:geheim@bucket/a", "s3://b/a?secret=geheim", "s3://id:geheim@:x/"] {
            let error = refused(url).await;
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
        }
        let endpoint = Some("https://id:geheim@host".to_owned());
        let options = StoreOptions { endpoint, ..StoreOptions::default() };
        let error = open("s3://bucket", &options).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
    }

    #[test]
    fn a_place_owns_what_lies_below_its_prefix() {
        let place = place(&Url::parse("s3://bucket/a/b/").unwrap()).unwrap();
        assert_eq!((place.bucket.as_str(), place.prefix.as_str()), ("bucket", "a/b/"));
        assert_eq!(place.key("a/b/c/d").unwrap().as_str(), "c/d");
        assert!(place.key("a/bc/d").is_none() && place.key("a/b/c d").is_none());
    }
}
