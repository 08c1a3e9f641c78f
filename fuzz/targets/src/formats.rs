//! Comps, variants, configuration and dependencies: texts that people write.

use tutti_distro::comps::{Comps, FilterOptions};
use tutti_distro::config::parse_conf;
use tutti_distro::layout::check_file_name;
use tutti_distro::variants::{Filter, Variants};
use tutti_rpm::{Dependency, Evr, Rich, version_compare};

use crate::{Signature, combined, of_text, signature};

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// comps.xml; what is read is written and read again.
pub fn comps(data: &[u8]) -> Signature {
    let result = Comps::parse(&text(data), "comps.xml");
    if let Ok((comps, _)) = &result {
        let xml = comps.to_xml();
        match Comps::parse(&xml, "again.xml") {
            Ok((again, _)) => assert_eq!(again.to_xml(), xml, "round trip"),
            Err(error) => assert_eq!(error.to_string(), "", "what was written is not read"),
        }
        let _ = comps.filter_arch("x86_64");
        if let Ok(variants) = Variants::parse(crate::seeds::VARIANTS, "v.xml", &Filter::default()) {
            for variant in variants.all() {
                let _ = comps.filter("x86_64", variant, &FilterOptions::default());
            }
        }
    }
    signature(&result)
}

/// variants.xml; ids and architectures that are accepted are file names.
pub fn variants(data: &[u8]) -> Signature {
    let result = Variants::parse(&text(data), "variants.xml", &Filter::default());
    if let Ok(variants) = &result {
        for variant in variants.all() {
            assert!(check_file_name(variant.uid.as_str()).is_ok(), "{:?}", variant.uid);
            for arch in &variant.arches {
                assert!(check_file_name(arch).is_ok(), "{arch:?}");
            }
        }
    }
    signature(&result)
}

/// The `.conf` language.
pub fn conf(data: &[u8]) -> Signature {
    let result = parse_conf(&text(data), "fuzz.conf");
    match &result {
        Ok(values) => {
            let words: Vec<Signature> = values
                .values()
                .map(|value| of_text(&value.to_json().to_string().chars().take(40).collect::<String>()))
                .collect();
            combined(&words)
        }
        Err(_) => signature(&result),
    }
}

/// Dependencies, rich ones and versions, one a line; comparing is antisymmetric.
pub fn dependency(data: &[u8]) -> Signature {
    let text = text(data);
    let mut parts = Vec::new();
    let mut previous: Option<Evr> = None;
    for line in text.lines().take(50) {
        let rich = Rich::parse(line);
        if let Ok(rich) = &rich {
            parts.push(rich.nodes().len() as u64);
            for leaf in rich.leaves() {
                let _ = leaf.overlaps(leaf);
            }
        }
        let dependency = Dependency::parse(line);
        parts.extend([signature(&rich), signature(&dependency)]);
        let evr = Evr::parse(line);
        if let Some(previous) = &previous {
            assert_eq!(previous.compare(&evr), evr.compare(previous).reverse(), "{previous:?} {evr:?}");
            assert_eq!(
                version_compare(&previous.version, &evr.version),
                version_compare(&evr.version, &previous.version).reverse()
            );
            assert_eq!(previous.compare(&evr), previous.sort_key().cmp(&evr.sort_key()), "{previous:?} {evr:?}");
        }
        previous = Some(evr);
    }
    combined(&parts)
}
