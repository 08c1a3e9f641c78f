//! Seeded mutations: the same seed and corpus give the same inputs.

use std::collections::HashSet;

use crate::{MAX_INPUT, Signature, Target};

/// Most inputs kept for their signature.
const MAX_KEPT: usize = 4096;
/// Numbers at which parsers go wrong.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Makes inputs of a corpus and remembers those that led to something new.
pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
    seen: HashSet<Signature>,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator of `corpus`; without one, of the empty input.
    pub fn new(target: &Target, mut corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        if corpus.is_empty() {
            corpus.push(Vec::new());
        }
        Self { state: seed, corpus, seen: HashSet::new(), words: target.words }
    }

    /// Number of inputs that are mutated.
    pub fn kept(&self) -> usize {
        self.corpus.len()
    }

    /// Tells what came of an input; one with a new signature joins the corpus.
    pub fn learn(&mut self, input: &[u8], signature: Signature) {
        if self.seen.len() < MAX_KEPT && self.seen.insert(signature) {
            self.corpus.push(input.to_vec());
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let index = self.below(self.corpus.len());
        let mut bytes = self.corpus[index].clone();
        for _ in 0..1 + self.below(4) {
            self.mutate(&mut bytes);
        }
        bytes.truncate(MAX_INPUT);
        bytes
    }

    /// splitmix64 (Steele, Lea and Flood, 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random() % limit.max(1) as u64).unwrap_or_default()
    }

    /// A short range more often than a long one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = [4, 16, 64, length][self.below(4)];
        start..(start + self.below(most + 1)).min(length)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        match self.below(10) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (self.random() % 8);
                }
            }
            2 => {
                let value = self.random().to_le_bytes()[0];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            3 | 4 => self.number(bytes, at),
            5 => {
                let range = self.range(bytes.len());
                bytes.drain(range);
            }
            6 => {
                let range = self.range(bytes.len());
                let part = bytes[range].repeat(1 + self.below(20));
                bytes.splice(at..at, part.into_iter().take(MAX_INPUT / 4));
            }
            7 => {
                let random = self.random().to_le_bytes();
                let length = self.below(random.len()) + 1;
                bytes.splice(at..at, random[..length].iter().copied());
            }
            8 => {
                let other = self.below(self.corpus.len());
                let range = self.range(self.corpus[other].len());
                let part = self.corpus[other][range].to_vec();
                let replaced = self.range(bytes.len());
                bytes.splice(replaced, part);
            }
            _ => {
                let word = self.below(self.words.len());
                if let Some(word) = self.words.get(word) {
                    bytes.splice(at..at, word.bytes());
                } else {
                    bytes.truncate(at);
                }
            }
        }
    }

    /// Writes a number of 1, 2, 4 or 8 bytes, in either order, at `at` or at the word that holds it.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let width = 1 << self.below(4);
        let at = if self.below(2) == 0 { at } else { at / width * width };
        let choice = self.below(NUMBERS.len() + 2);
        let number = NUMBERS.get(choice).copied().unwrap_or_else(|| self.random() % 4096);
        let big = self.below(2) == 0;
        let Some(place) = bytes.get_mut(at..at + width) else { return };
        if big {
            place.copy_from_slice(&number.to_be_bytes()[8 - width..]);
        } else {
            place.copy_from_slice(&number.to_le_bytes()[..width]);
        }
    }
}
