//! The transactions of one piece.

use super::{
    super::replay::Source,
    selection::{PieceRule, Selection, Verdict},
};
use crate::{
    format::LogRange,
    jobs::JobError,
    mysql::replication::{Captured, Group},
    pipeline::{
        Accept, PipelineError,
        log::{Piece, RangeOpener},
    },
};

impl PieceRule {
    pub(in crate::jobs::restore) fn of(piece: &Piece<'_>) -> Self {
        Self {
            record: piece.number,
            from: (piece.from > piece.range.start).then_some(piece.from),
            within: piece.within.clone(),
        }
    }
}

/// Takes the transactions that end in a piece.
#[derive(Default)]
struct Groups {
    source: Source,
    found: Vec<Group>,
}

impl Accept for Groups {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        let found = &mut self.found;
        self.source
            .feed(plain, |captured| {
                if let Captured::End(end) = captured {
                    found.extend(end.group);
                }
                Ok(())
            })
            .map_err(|error: crate::mysql::MysqlError| PipelineError::Accept(Box::new(error)))
    }
}

/// The first bytes of a file, as far as its format description.
#[derive(Default)]
struct Head {
    source: Source,
    open: bool,
    event: Vec<u8>,
    whole: bool,
}

impl Accept for Head {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        if self.whole {
            return Ok(());
        }
        let Self { source, open, event, whole } = self;
        source
            .feed(plain, |captured| {
                match captured {
                    Captured::Event { .. } => *open = !*whole,
                    Captured::Bytes(bytes) if *open => event.extend_from_slice(&bytes),
                    Captured::End(_) => (*open, *whole) = (false, true),
                    _ => {}
                }
                Ok(())
            })
            .map_err(|error: crate::mysql::MysqlError| PipelineError::Accept(Box::new(error)))
    }
}

/// The format description of the file that a piece is of.
pub(in crate::jobs::restore) async fn format_description(
    opener: &RangeOpener<'_>,
    piece: &Piece<'_>,
) -> Result<Vec<u8>, JobError> {
    let Some(head) = piece.head else {
        return Err(JobError::integrity(
            format!("the beginning of {} is not archived", piece.range.file),
            "choose a later base backup",
        ));
    };
    let mut acceptor = Head::default();
    let whole = LogRange { start: 0, ..piece.range.clone() };
    acceptor.source.begin(&whole, false, None)?;
    Ok(opener.open(head, acceptor).await?.event)
}

/// The transactions that end in a piece and belong to the result, in order. What came before is in
/// `selection` already; afterwards they are, too.
pub(super) async fn transactions(
    opener: &RangeOpener<'_>,
    pieces: &[Piece<'_>],
    at: usize,
    selection: &mut Selection,
) -> Result<Vec<Group>, JobError> {
    // The transaction that ends first may have begun in pieces before this one.
    let continues = |at: usize| {
        let (a, b) = (pieces[at - 1].range, pieces[at].range);
        a.cut
            && a.end == b.start
            && (&a.server, &a.file, a.created) == (&b.server, &b.file, b.created)
    };
    let mut first = at;
    while first > 0 && continues(first) {
        first -= 1;
    }
    let mut groups = Groups::default();
    for (n, piece) in pieces[first..=at].iter().enumerate() {
        let event = match piece.range.start {
            start if start > 0 && n == 0 => Some(format_description(opener, piece).await?),
            _ => None,
        };
        groups.source.begin(piece.range, n > 0, event.as_deref())?;
        groups = opener.open(piece.number, groups).await?;
    }
    let rule = PieceRule::of(&pieces[at]);
    let start = pieces[at].range.start;
    let ended = groups.found.into_iter().filter(|group| group.end > start);
    Ok(ended
        .filter(|group| {
            let verdict = group.gtid.as_ref().map(|gtid| selection.judge(&rule, gtid, group));
            verdict == Some(Verdict::Take)
        })
        .collect())
}
