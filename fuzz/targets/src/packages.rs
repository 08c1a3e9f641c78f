//! RPM headers.

use tutti_rpm::HeaderReader;

use crate::{Signature, combined, signature};

/// Reads a file's headers and everything in them, as a package set does, and once more without the digest's word.
pub fn rpm_header(data: &[u8]) -> Signature {
    let mut input = data;
    let mut reader = HeaderReader::default();
    let file = match reader.read_from(&mut input) {
        Ok(file) => file,
        Err(error) => return signature::<(), _>(&Err(error)),
    };
    let package = file.package();
    let mut parts = vec![signature(&package), signature(&file.check_complete()), signature(&file.payload_digest())];
    let payload = reader.payload_verifier(&file);
    parts.push(signature(&payload));
    if let Ok(Some(mut payload)) = payload {
        payload.update(input);
        parts.push(signature(&payload.finish()));
    }
    for header in [file.signature(), file.header()] {
        for tag in header.tags() {
            parts.push(u64::from(tag) ^ signature(&header.strings(tag)) ^ signature(&header.u64s(tag)));
            let _ = (header.binary(tag), header.u32s(tag), header.i18n(tag));
        }
    }
    if let Ok(package) = package {
        assert!(!package.name.contains('/') && !package.name.is_empty(), "name {:?}", package.name);
        assert!(!package.arch.contains('/'), "arch {:?}", package.arch);
        let key = package.evr.sort_key();
        assert!(key.as_bytes() == package.evr.clone().sort_key().as_bytes());
    }
    combined(&parts)
}
