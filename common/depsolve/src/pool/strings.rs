//! The strings of several universes under one numbering.

use crate::Source;

/// Sorted distinct strings, and where each string of each source is among them.
#[derive(Debug)]
pub(super) struct PoolStrings<'a> {
    all: Vec<&'a str>,
    places: Vec<Vec<u32>>,
}

impl<'a> PoolStrings<'a> {
    pub(super) fn new(sources: &'a [Source<'a>]) -> PoolStrings<'a> {
        let mut all: Vec<&'a str> = sources.iter().flat_map(|source| source.universe.strings.iter()).collect();
        // Each source's strings are sorted already: a stable sort merges the runs.
        all.sort();
        all.dedup();
        let places = sources
            .iter()
            .map(|source| {
                let mut place = 0;
                let find = |string: &str| {
                    while all[place] != string {
                        place += 1;
                    }
                    place as u32
                };
                source.universe.strings.iter().map(find).collect()
            })
            .collect();
        PoolStrings { all, places }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, id: u32) -> &'a str {
        self.all[id as usize]
    }

    /// Returns the number here of a source's string.
    pub(super) fn of(&self, source: usize, string: u32) -> u32 {
        self.places[source][string as usize]
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.all.binary_search(&text).ok().map(|place| place as u32)
    }
}
