//! The files that lie between the beginning of a history and one of its ends.

use std::borrow::Cow;

use super::{
    Lines,
    lines::{File, Gap, History, stretch_of},
};
use crate::model::GtidState;

/// The files from the beginning of a history to the end of a stretch, and what of them counts.
pub(super) struct Way<'l, 'a> {
    pub(super) lines: &'l Lines<'a>,
    pub(super) history: &'l History,
    first: usize,
    last: usize,
    /// For each stretch, what goes on behind all forks that follow; nothing when all does.
    within: Vec<Option<GtidState>>,
}

impl<'l, 'a> Way<'l, 'a> {
    pub(super) fn new(lines: &'l Lines<'a>, history: &'l History, last: usize) -> Self {
        let first = history.stretches.start;
        let mut within: Vec<Option<GtidState>> = vec![None];
        for stretch in lines.stretches[first + 1..=last].iter().rev() {
            let behind = within.last().and_then(Option::as_ref);
            let common = stretch.fork.map(|fork| match behind {
                Some(behind) => fork.frontier.shared_with(behind),
                None => fork.frontier.clone(),
            });
            within.push(common);
        }
        within.reverse();
        Self { lines, history, first, last, within }
    }

    /// What is archived at its end.
    pub(super) fn line(&self) -> &'l GtidState {
        &self.lines.stretches[self.last].line
    }

    /// Its files, with their indices.
    pub(super) fn files(&self) -> impl Iterator<Item = (usize, &'l File<'a>)> {
        let stretches = self.first..=self.last;
        let files = self.lines.files.iter().enumerate();
        files.filter(move |(_, file)| stretches.contains(&file.stretch))
    }

    /// What goes on behind all forks that follow a stretch; nothing when all does.
    pub(super) fn within(&self, stretch: usize) -> Option<&GtidState> {
        self.within.get(stretch - self.first).and_then(Option::as_ref)
    }

    /// What of a state belongs to this way.
    pub(super) fn clip<'s>(&self, state: &'s GtidState, stretch: usize) -> Cow<'s, GtidState> {
        match self.within(stretch) {
            Some(within) if !state.is_within(within) => Cow::Owned(state.shared_with(within)),
            _ => Cow::Borrowed(state),
        }
    }

    /// Gaps behind which nothing is archived, on this way, and what counts there.
    pub(super) fn open_gaps(&self) -> impl Iterator<Item = (&Gap<'a>, Option<&GtidState>)> {
        self.lines.open_gaps.iter().filter_map(|gap| {
            let stretch = stretch_of(&self.lines.stretches, gap.record);
            let is_here = (self.first..=self.last).contains(&stretch);
            is_here.then(|| (gap, self.within(stretch)))
        })
    }
}
