//! Key ids of OpenPGP signatures, as far as they are needed to tell which key signed a package. Nothing is verified.
//!
//! Formats: RFC 4880 sections 4.2 and 5.2, RFC 9580 section 5.2 (version 6 signatures).

/// Most base64 text that is decoded: signatures have some hundred bytes, post-quantum ones some ten thousand.
const MAX_BASE64: usize = 64 * 1024;

const SIGNATURE_PACKET: u8 = 2;
const SUBPACKET_ISSUER: u8 = 16;
const SUBPACKET_ISSUER_FINGERPRINT: u8 = 33;

/// Low four bytes of the issuer's key id as 8 lower-case hex digits; `None` if the bytes do not start with a signature
/// packet that names its issuer.
pub(crate) fn short_key_id(packet: &[u8]) -> Option<String> {
    let [.., a, b, c, d] = key_id(signature_body(packet)?)?;
    Some(format!("{a:02x}{b:02x}{c:02x}{d:02x}"))
}

/// As [`short_key_id`], of a base64 text (RPMSIGTAG_OPENPGP).
pub(crate) fn short_key_id_of_base64(text: &[u8]) -> Option<String> {
    short_key_id(&base64(text)?)
}

/// Body of a signature packet with either form of packet header.
fn signature_body(packet: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = packet.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let (kind, length, header) = if first & 0x40 == 0 {
        let octets = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        ((first >> 2) & 0xf, big_endian(rest.get(..octets)?), octets)
    } else {
        let (length, header) = new_length(rest)?;
        (first & 0x3f, length, header)
    };
    (kind == SIGNATURE_PACKET).then_some(())?;
    rest.get(header..header.checked_add(length)?)
}

/// Length of a packet or subpacket in the new form, and the bytes it takes; no partial lengths.
fn new_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [first @ 0..192, ..] => Some((usize::from(first), 1)),
        [first @ 192..224, second, ..] => Some(((usize::from(first) - 192) * 256 + usize::from(second) + 192, 2)),
        [255, a, b, c, d, ..] => Some((big_endian(&[a, b, c, d]), 5)),
        _ => None,
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn key_id(body: &[u8]) -> Option<[u8; 8]> {
    match *body.first()? {
        // version, 5, type, time (4), key id (8)
        2 | 3 => body.get(7..15)?.try_into().ok(),
        4 | 5 => issuer(body, 2),
        6 => issuer(body, 4),
        _ => None,
    }
}

/// Issuer in the hashed, then in the unhashed subpackets; each area's length has `width` bytes.
fn issuer(body: &[u8], width: usize) -> Option<[u8; 8]> {
    // version, type, public key algorithm, hash algorithm
    let mut rest = body.get(4..)?;
    for _ in 0..2 {
        let length = big_endian(rest.get(..width)?);
        let end = width.checked_add(length)?;
        if let Some(id) = issuer_in(rest.get(width..end)?) {
            return Some(id);
        }
        rest = &rest[end..];
    }
    None
}

fn issuer_in(mut area: &[u8]) -> Option<[u8; 8]> {
    while !area.is_empty() {
        let (length, header) = new_length(area)?;
        let end = header.checked_add(length)?;
        let (kind, data) = area.get(header..end)?.split_first()?;
        area = &area[end..];
        match kind & 0x7f {
            SUBPACKET_ISSUER => return data.try_into().ok(),
            SUBPACKET_ISSUER_FINGERPRINT => match data.split_first()? {
                (4, fingerprint) => return fingerprint.last_chunk().copied(),
                (_, fingerprint) => return fingerprint.first_chunk().copied(),
            },
            _ => {}
        }
    }
    None
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > MAX_BASE64 {
        return None;
    }
    let (mut bits, mut have) = (0u32, 0);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            b'\n' | b'\r' | b' ' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc2, u8::try_from(body.len()).unwrap()];
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn version_3() {
        let mut packet = vec![0x88, 15, 3, 5, 0, 1, 2, 3, 4];
        packet.extend_from_slice(&[0xaa, 0xbb, 0xcc, 0xdd, 0x01, 0x02, 0x03, 0xf4]);
        assert_eq!(short_key_id(&packet).unwrap(), "010203f4");
    }

    #[test]
    fn version_4_unhashed_issuer() {
        let body = [4, 0, 1, 8, 0, 2, 1, 9, 0, 10, 9, 16, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(short_key_id(&packet(&body)).unwrap(), "deadbeef");
    }

    #[test]
    fn fingerprints() {
        let mut four = vec![4, 0, 1, 8, 0, 23, 22, 33, 4];
        four.extend(1..=20u8);
        four.extend([0, 0]);
        assert_eq!(short_key_id(&packet(&four)).unwrap(), "11121314");
        let mut six = vec![6, 0, 1, 8, 0, 0, 0, 35, 34, 33, 6];
        six.extend(1..=32u8);
        six.extend([0, 0, 0, 0]);
        assert_eq!(short_key_id(&packet(&six)).unwrap(), "05060708");
    }

    #[test]
    fn base64_text() {
        assert_eq!(base64(b"Zm9v\nYmE=").unwrap(), b"fooba");
        assert_eq!(base64(b"Zm9*"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = short_key_id(&bytes);
            let _ = short_key_id_of_base64(&bytes);
            let mut signature = vec![0xc2, u8::try_from(bytes.len()).unwrap()];
            signature.extend_from_slice(&bytes);
            let _ = short_key_id(&signature);
        }
    }
}
