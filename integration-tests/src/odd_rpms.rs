//! RPM files as no builder of today makes them, for comparisons of readers: headers of random facts, old tags included.
//!
//! A seed is a set of packages. Texts are bytes: UTF-8, Latin-1, markup, white space. Files have no payload.

mod facts;
mod header;

use std::{fs, io, path::Path};

use sha2::{Digest as _, Sha256};

pub use self::header::{Header, Number};
use crate::chaos::Random;

/// Kinds of packages, one after the other.
const KINDS: [fn(&mut Random, &mut Header); 4] =
    [facts::package, facts::old_package, facts::source_package, facts::large_package];

/// Writes `count` packages into a directory.
///
/// # Errors
/// When a file cannot be written.
pub fn write(directory: &Path, seed: u64, count: usize) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for number in 0..count {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        // Every tenth is large: others tell more in less time.
        let kind = if number % 10 == 9 { 3 } else { number % 3 };
        let mut header = Header::default();
        header.string(1000, format!("odd-{seed}-{number}").as_bytes());
        KINDS[kind](&mut random, &mut header);
        fs::write(directory.join(format!("odd-{seed}-{number}.rpm")), file(&mut random, &header))?;
    }
    Ok(())
}

/// Lead, signature header, main header, and a few bytes in place of a payload.
fn file(random: &mut Random, header: &Header) -> Vec<u8> {
    let payload = b"no payload";
    // rpm 3 wrote no regions.
    let regions = if header.contains(1027) { [None; 2] } else { [Some(62), Some(63)] };
    let main = header.to_bytes(regions[1]);
    let mut signature = Header::default();
    if random.below(4) > 0 {
        let digest = Sha256::digest(&main);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        signature.string(273, hex.as_bytes());
    }
    let size = (main.len() + payload.len()) as u64;
    match random.below(3) {
        0 => signature.numbers(270, Number::Long, &[size]),
        _ => signature.numbers(1000, Number::Word, &[size]),
    }
    match random.below(4) {
        // In both headers rpm takes it for a forgery.
        _ if header.contains(1046) => {}
        0 => signature.numbers(1007, Number::Word, &[random.below(1 << 32)]),
        1 => signature.numbers(271, Number::Long, &[random.below(1 << 40)]),
        _ => {}
    }
    let mut bytes = vec![0; 96];
    bytes[..6].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0]);
    bytes[7] = u8::from(header.contains(1106));
    bytes[10..13].copy_from_slice(b"odd");
    bytes[77] = 1;
    bytes[79] = 5;
    bytes.extend(signature.to_bytes(regions[0]));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(main);
    bytes.extend(payload);
    bytes
}
