//! Prometheus' text format 0.0.4 ("Exposition formats", Prometheus documentation).

use std::fmt::Write as _;

use axum::response::IntoResponse;

use crate::model::Timestamp;

/// What is told to Prometheus, one family after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: String,
}

/// A kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        name.clone_into(&mut self.family);
        self
    }

    /// A sample of the present family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(&self.family);
        for (n, (name, text)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// Everything so far.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A whole number as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but floats")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

/// An instant in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but floats")]
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_microseconds() as f64 / 1e6
}

/// What a scrape is answered.
pub(super) fn response(text: String) -> impl IntoResponse + use<> {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Fails unless this is what Prometheus reads: every sample belongs to a family that was begun once,
/// has a number, and stands there once.
#[cfg(test)]
pub(super) fn check(text: &str) {
    let mut families: Vec<&str> = Vec::new();
    let mut samples = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(!families.contains(&name), "{line}: twice");
            families.push(name);
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(sample.split('{').next(), families.last().copied(), "{line}");
            value.parse::<f64>().unwrap();
            assert!(samples.insert(sample.to_owned()), "{line}: twice");
        } else {
            assert!(line.starts_with("# HELP ") && line.len() > 20, "{line}");
        }
    }
    assert!(text.ends_with('\n') && !families.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_samples_stand_in_their_family() {
        let mut out = Exposition::default();
        out.family("backstay_x", Kind::Gauge, "Some value of ours.");
        out.sample(&[("a", "q\"b\\s\nn"), ("b", "")], 1.5).sample(&[], 2.0);
        let text = out.finish();
        check(&text);
        assert!(
            text.contains("backstay_x{a=\"q\\\"b\\\\s\\nn\",b=\"\"} 1.5\nbackstay_x 2\n"),
            "{text}"
        );
    }
}
