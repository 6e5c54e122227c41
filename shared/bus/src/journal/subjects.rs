//! The newest message under each subject, and under each filter somebody asked for: a fence costs one look-up.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::{Filter, Sequence, Subject};

/// Filters remembered at most; beyond, those that no reader waits on are forgotten and found again when asked for.
const MAX_FILTERS: usize = 4_096;

/// Subjects of one stream, and filters over them.
#[derive(Default)]
pub(super) struct Subjects {
    subjects: Vec<SubjectEntry>,
    by_name: HashMap<Subject, usize>,
    filters: Vec<FilterEntry>,
    by_filter: HashMap<Filter, usize>,
}

struct SubjectEntry {
    subject: Subject,
    newest: Newest,
    filters: Vec<usize>,
}

struct FilterEntry {
    filter: Filter,
    newest: Newest,
    watch: Arc<Notify>,
}

/// Sequences, 0 for none.
#[derive(Clone, Copy, Default)]
struct Newest {
    /// Newest on disk.
    stored: Sequence,
    /// Newest on its way to disk, or there.
    staged: Sequence,
    /// Newest that was trimmed.
    trimmed: Sequence,
}

impl Newest {
    fn merge(&mut self, other: Self) {
        self.stored = self.stored.max(other.stored);
        self.staged = self.staged.max(other.staged);
        self.trimmed = self.trimmed.max(other.trimmed);
    }
}

impl Subjects {
    /// The newest message under a filter that is on disk.
    pub(super) fn stored(&self, filter: &Filter) -> Sequence {
        self.newest(filter).stored
    }

    /// The newest message under a filter that was trimmed.
    pub(super) fn trimmed(&self, filter: &Filter) -> Sequence {
        self.newest(filter).trimmed
    }

    /// The newest message under a fence, on its way to disk or there.
    pub(super) fn staged(&mut self, fence: &Filter) -> Sequence {
        let index = self.filter(fence);
        self.filters[index].newest.staged
    }

    /// What is notified of messages under a filter.
    pub(super) fn watch(&mut self, filter: &Filter) -> Arc<Notify> {
        let index = self.filter(filter);
        Arc::clone(&self.filters[index].watch)
    }

    /// A message on its way to disk.
    pub(super) fn stage(&mut self, subject: &Subject, sequence: Sequence) {
        self.merge(subject.as_str(), Newest { staged: sequence, ..Newest::default() });
    }

    /// A message that is on disk. `wake` is given everybody who waits for it.
    pub(super) fn store(&mut self, subject: &str, sequence: Sequence, mut wake: impl FnMut(&Arc<Notify>)) {
        let index = self.merge(subject, Newest { stored: sequence, staged: sequence, trimmed: 0 });
        for &filter in &self.subjects[index].filters {
            wake(&self.filters[filter].watch);
        }
    }

    /// A message that was trimmed.
    pub(super) fn trim(&mut self, subject: &str, sequence: Sequence) {
        let index = self.merge(subject, Newest { trimmed: sequence, ..Newest::default() });
        let entry = &mut self.subjects[index];
        if entry.newest.stored == sequence {
            (entry.newest.stored, entry.newest.staged) = (0, 0);
            for filter in entry.filters.clone() {
                self.filters[filter].newest = self.over_subjects(&self.filters[filter].filter);
            }
        }
    }

    /// What is known from an earlier life of a message that was trimmed.
    pub(super) fn restore_trimmed(&mut self, subject: &str, sequence: Sequence) {
        self.merge(subject, Newest { trimmed: sequence, ..Newest::default() });
    }

    /// Wakes everybody.
    pub(super) fn wake_all(&self) {
        self.filters.iter().for_each(|entry| entry.watch.notify_waiters());
    }

    fn newest(&self, filter: &Filter) -> Newest {
        match self.by_filter.get(filter) {
            Some(&index) => self.filters[index].newest,
            None => self.over_subjects(filter),
        }
    }

    fn over_subjects(&self, filter: &Filter) -> Newest {
        let mut newest = Newest::default();
        let matching = self.subjects.iter().filter(|entry| filter.matches(&entry.subject));
        matching.for_each(|entry| newest.merge(entry.newest));
        newest
    }

    fn merge(&mut self, subject: &str, newest: Newest) -> usize {
        let index = match self.by_name.get(subject) {
            Some(&index) => index,
            None => self.add_subject(subject),
        };
        let entry = &mut self.subjects[index];
        entry.newest.merge(newest);
        for &filter in &entry.filters {
            self.filters[filter].newest.merge(newest);
        }
        index
    }

    fn add_subject(&mut self, subject: &str) -> usize {
        let subject = Subject::of_tokens(subject);
        let filters = self.filters.iter().enumerate().filter(|(_, entry)| entry.filter.matches(&subject));
        let filters = filters.map(|(index, _)| index).collect();
        self.by_name.insert(subject.clone(), self.subjects.len());
        self.subjects.push(SubjectEntry { subject, newest: Newest::default(), filters });
        self.subjects.len() - 1
    }

    fn filter(&mut self, filter: &Filter) -> usize {
        if let Some(&index) = self.by_filter.get(filter) {
            return index;
        }
        if self.filters.len() >= MAX_FILTERS {
            self.forget_filters();
        }
        let entry = FilterEntry { filter: filter.clone(), newest: self.over_subjects(filter), watch: Arc::default() };
        self.add_filter(entry)
    }

    fn add_filter(&mut self, entry: FilterEntry) -> usize {
        let index = self.filters.len();
        let matching = self.subjects.iter_mut().filter(|subject| entry.filter.matches(&subject.subject));
        matching.for_each(|subject| subject.filters.push(index));
        self.by_filter.insert(entry.filter.clone(), index);
        self.filters.push(entry);
        index
    }

    fn forget_filters(&mut self) {
        self.by_filter.clear();
        self.subjects.iter_mut().for_each(|subject| subject.filters.clear());
        let watched: Vec<_> = self.filters.drain(..).filter(|entry| Arc::strong_count(&entry.watch) > 1).collect();
        watched.into_iter().for_each(|entry| {
            self.add_filter(entry);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn filters_follow_their_subjects() {
        let mut subjects = Subjects::default();
        subjects.store("evt.0.a.dns", 1, |_| {});
        assert_eq!(subjects.staged(&filter("evt.*.a.>")), 1);
        subjects.stage(&Subject::new("evt.1.a.http").unwrap(), 2);
        assert_eq!((subjects.staged(&filter("evt.*.a.>")), subjects.stored(&filter("evt.*.a.>"))), (2, 1));
        let mut woken = 0;
        subjects.store("evt.1.a.http", 2, |_| woken += 1);
        assert_eq!((subjects.stored(&filter("evt.*.a.>")), subjects.stored(&filter("evt.1.>")), woken), (2, 2, 1));
    }

    #[test]
    fn a_trimmed_newest_message_leaves_the_one_before() {
        let mut subjects = Subjects::default();
        for (subject, sequence) in [("a.x", 1), ("a.y", 2), ("b.x", 3)] {
            subjects.store(subject, sequence, |_| {});
        }
        assert_eq!(subjects.staged(&filter("a.*")), 2);
        subjects.trim("a.y", 2);
        assert_eq!((subjects.staged(&filter("a.*")), subjects.trimmed(&filter("a.*"))), (1, 2));
        subjects.trim("a.x", 1);
        assert_eq!((subjects.staged(&filter("a.*")), subjects.stored(&filter(">"))), (0, 3));
        assert_eq!((subjects.trimmed(&filter("a.x")), subjects.trimmed(&filter("b.x"))), (1, 0));
    }

    #[test]
    fn filters_beyond_the_limit_are_found_again() {
        let mut subjects = Subjects::default();
        subjects.store("a.1", 7, |_| {});
        let watch = subjects.watch(&filter("a.>"));
        for index in 0..2 * MAX_FILTERS {
            assert_eq!(subjects.staged(&filter(&format!("b.{index}"))), 0);
        }
        assert!(subjects.filters.len() <= MAX_FILTERS);
        let mut woken = Vec::new();
        subjects.store("a.1", 8, |found| woken.push(Arc::clone(found)));
        assert!(woken.iter().any(|found| Arc::ptr_eq(found, &watch)));
        assert_eq!(subjects.staged(&filter("a.1")), 8);
    }
}
