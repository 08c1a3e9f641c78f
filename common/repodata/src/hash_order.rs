//! The order in which GLib's hash tables of texts give their entries: mergerepo_c processes packages in it, and the rows
//! of createrepo_c's `filelists.sqlite` stand in it.
//!
//! GLib 2.74 `ghash.c`: open addressing, `g_str_hash`, a prime per size. Since 2.58 the hash is multiplied by 11 first.

/// Largest prime below each power of two, from 2^3 on (`prime_mod`).
const PRIMES: [u32; 29] = [
    7,
    13,
    31,
    61,
    127,
    251,
    509,
    1021,
    2039,
    4093,
    8191,
    16381,
    32749,
    65521,
    131_071,
    262_139,
    524_287,
    1_048_573,
    2_097_143,
    4_194_301,
    8_388_593,
    16_777_213,
    33_554_393,
    67_108_859,
    134_217_689,
    268_435_399,
    536_870_909,
    1_073_741_789,
    2_147_483_647,
];
/// Least size, as a power of two.
const MIN_SHIFT: usize = 3;

/// Returns the numbers of `keys`, which must be distinct, in the order of a table into which they were put one by one.
pub fn order(keys: &[&str]) -> Vec<usize> {
    let mut table = Table::new();
    for (number, key) in keys.iter().enumerate() {
        table.insert(hash(key), number);
    }
    table.slots.into_iter().flatten().map(|(_, number)| number).collect()
}

/// `g_str_hash`; 0 and 1 mark slots, so that they count as 2.
fn hash(key: &str) -> u32 {
    let hash = key
        .bytes()
        .fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(i32::from(i8::from_ne_bytes([byte])) as u32));
    hash.max(2)
}

struct Table {
    slots: Vec<Option<(u32, usize)>>,
    prime: u32,
    used: usize,
}

impl Table {
    fn new() -> Self {
        Self { slots: vec![None; 1 << MIN_SHIFT], prime: PRIMES[0], used: 0 }
    }

    fn first_slot(&self, hash: u32) -> usize {
        (hash.wrapping_mul(11) % self.prime) as usize
    }

    /// The first slot on the way of a hash that is free in the eyes of the caller.
    fn probe(&self, hash: u32, taken: impl Fn(usize) -> bool) -> usize {
        let (mut at, mut step) = (self.first_slot(hash), 0);
        while taken(at) {
            step += 1;
            at = (at + step) & (self.slots.len() - 1);
        }
        at
    }

    fn insert(&mut self, hash: u32, number: usize) {
        let at = self.probe(hash, |at| self.slots[at].is_some());
        self.slots[at] = Some((hash, number));
        self.used += 1;
        if self.slots.len() <= self.used + self.used / 16 {
            self.grow();
        }
    }

    /// Places all entries anew, in the same memory: who is in the way of another is placed next.
    fn grow(&mut self) {
        let old = self.slots.len();
        let wanted = (self.used as f64 * 1.333) as usize;
        let shift = ((usize::BITS - wanted.leading_zeros()) as usize).max(MIN_SHIFT);
        self.slots.resize(1 << shift, None);
        self.prime = PRIMES[(shift - MIN_SHIFT).min(PRIMES.len() - 1)];
        let mut placed = vec![false; self.slots.len()];
        for from in 0..old {
            if placed[from] {
                continue;
            }
            let mut moving = self.slots[from].take();
            while let Some(entry) = moving {
                let at = self.probe(entry.0, |at| placed[at]);
                placed[at] = true;
                moving = self.slots[at].replace(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_once() {
        let keys: Vec<String> = (0..5000).map(|number| format!("key-{number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut found = order(&keys);
        assert_ne!(found, (0..5000).collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (0..5000).collect::<Vec<_>>());
        assert!(order(&[]).is_empty());
    }

    /// Worked out by hand with `hash * 11 % 7` on a table of 8 slots.
    #[test]
    fn a_small_table() {
        let slot = |key: &str| hash(key).wrapping_mul(11) % 7;
        let keys = ["a", "b", "c", "d"];
        let mut expected: Vec<(u32, usize)> = keys.iter().map(|key| slot(key)).zip(0..).collect();
        expected.sort_unstable();
        assert!(expected.windows(2).all(|pair| pair[0].0 != pair[1].0), "no collision among these");
        assert_eq!(order(&keys), expected.into_iter().map(|(_, number)| number).collect::<Vec<_>>());
        assert_eq!(hash(""), 5381);
        assert_eq!(hash("a"), 5381 * 33 + 97);
        assert_eq!(hash("\u{e9}"), ((5381u32 * 33).wrapping_sub(61)).wrapping_mul(33).wrapping_sub(87));
    }
}
