use proptest::prelude::*;

use super::*;
use crate::testing::{layered_release, python, release};

fn identity(kind: ComposeType) -> ComposeIdentity {
    ComposeIdentity { date: ComposeDate::new("20261122").unwrap(), kind, respin: 0 }
}

#[test]
fn ids_have_release_date_type_and_respin() {
    let id = |kind, release: &Release| identity(kind).id(release).unwrap().to_string();
    assert_eq!(id(ComposeType::Production, &release()), "Test-1.2-20261122.0");
    assert_eq!(id(ComposeType::Nightly, &release()), "Test-1.2-20261122.n.0");
    assert_eq!(id(ComposeType::Test, &layered_release()), "Test-1.2-updates-Base-9-eus-20261122.t.0");
    let next = identity(ComposeType::Ci).next_respin().next_respin();
    assert_eq!(next.id(&release()).unwrap().as_str(), "Test-1.2-20261122.ci.2");
    let hostile = Release { short: "../x".to_owned(), ..release() };
    assert!(identity(ComposeType::Test).id(&hostile).is_err());
}

#[test]
fn links_name_the_release_only() {
    assert_eq!(latest_link(&release(), None).unwrap(), "latest-Test-1.2");
    assert_eq!(latest_link(&release(), Some(1)).unwrap(), "latest-Test-1");
    assert_eq!(latest_link(&layered_release(), Some(5)).unwrap(), "latest-Test-1.2-Base-9");
}

#[test]
fn ids_are_safe_file_names() {
    for bad in ["", ".x", "-x", "a/b", "a b", "a\0", "a\n", "é", &"x".repeat(129)] {
        assert!(ComposeId::new(bad).is_err(), "{bad:?}");
        assert!(serde_json::from_value::<ComposeId>(serde_json::json!(bad)).is_err());
    }
    assert!(ComposeId::new("Fedora-Rawhide-20261122.n.0").is_ok());
}

#[test]
fn dates_are_days() {
    for bad in ["2026112", "20261131", "20261300", "2026-1-1", "+2026112", "２０２６１１２２"] {
        assert!(ComposeDate::new(bad).is_err(), "{bad}");
    }
    // 2026-11-22 23:30:00 UTC.
    let epoch = 1_795_390_200;
    assert_eq!(ComposeDate::from_epoch(epoch, &TimeZone::UTC).unwrap().as_str(), "20261122");
    let east = TimeZone::fixed(jiff::tz::offset(1));
    assert_eq!(ComposeDate::from_epoch(epoch, &east).unwrap().as_str(), "20261123");
    assert!(ComposeDate::from_epoch(i64::MAX, &TimeZone::UTC).is_err());
    assert!(ComposeDate::from_epoch(-100_000_000_000, &TimeZone::UTC).is_err());
}

#[test]
fn labels_are_milestones_with_numbers() {
    let label: Label = "RC-1.0".parse().unwrap();
    assert!(label.is_supported());
    assert_eq!((label.to_string(), label.major_version()), ("RC-1.0".to_owned(), "RC-1".to_owned()));
    assert_eq!("Beta-01.00".parse::<Label>().unwrap().to_string(), "Beta-01.00");
    assert!(!"Beta-2.10".parse::<Label>().unwrap().is_supported());
    for bad in ["RC", "RC-1", "RC-1.", "rc-1.0", "RC-1.0.1", "RC-+1.0", "GA-1.0", " RC-1.0", "RC-1.0\n"] {
        let error = bad.parse::<Label>().unwrap_err().to_string();
        assert!(error.contains("milestones are EA"), "{error}");
    }
}

#[test]
fn releases_are_checked_as_productmd_does() {
    release().validate().unwrap();
    layered_release().validate().unwrap();
    let with =
        |short: &str, version: &str| Release { short: short.to_owned(), version: version.to_owned(), ..release() };
    for (short, version) in [("Fedora", "Rawhide"), ("rhel", "9"), ("f", "10.2.1")] {
        with(short, version).validate().unwrap();
    }
    for (short, version) in [("", "1"), ("a/b", "1"), ("a", ""), ("a", "1.x"), ("a", "1..2"), ("a", "1."), ("a", "..")]
    {
        assert!(with(short, version).validate().is_err(), "{short} {version}");
    }
    assert_eq!("Updates-Testing".parse::<ReleaseType>().unwrap(), ReleaseType::UpdatesTesting);
    assert!("beta".parse::<ReleaseType>().is_err());
}

#[test]
fn productmd_makes_the_same_ids() {
    let mut script = String::from("import productmd.composeinfo as c\n");
    let mut expected = Vec::new();
    for release in [release(), layered_release()] {
        for kind in ComposeType::ALL {
            let (base, layered) = match &release.base_product {
                Some(base) => (base.clone(), "True"),
                None => (layered_release().base_product.unwrap(), "False"),
            };
            script.push_str(&format!(
                "i = c.ComposeInfo(); i.release.short={:?}; i.release.version={:?}; i.release.type={:?}; \
                 i.release.is_layered={layered}; i.base_product.short={:?}; i.base_product.version={:?}; \
                 i.base_product.type={:?}; i.compose.date='20261122'; i.compose.type={:?}; i.compose.respin=0; \
                 print(i.create_compose_id())\n",
                release.short,
                release.version,
                release.kind.as_str(),
                base.short,
                base.version,
                base.kind.as_str(),
                kind.as_str()
            ));
            expected.push(identity(kind).id(&release).unwrap().to_string());
        }
    }
    // A new ComposeInfo of productmd validates itself while empty; only newer versions allow that.
    let script = script.replace("c.ComposeInfo()", "c.ComposeInfo.__new__(c.ComposeInfo); setup(i)");
    let setup = "def setup(i):\n    i.compose = c.Compose(i); i.release = c.Release(i); i.base_product = c.BaseProduct(i); i.variants = c.Variants(i)\n";
    let script = script.replacen('\n', &format!("\n{setup}"), 1);
    if let Some(output) = python("productmd", &script, std::path::Path::new(".")) {
        assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    }
}

proptest! {
    #[test]
    fn labels_print_as_written(text in "(RC|Beta|EA|[A-Z]{1,3})-[0-9]{1,4}\\.[0-9]{0,12}") {
        if let Ok(label) = text.parse::<Label>() {
            prop_assert_eq!(label.to_string(), text);
        }
    }

    #[test]
    fn accepted_ids_are_one_path_part(text in "\\PC{0,20}") {
        if let Ok(id) = ComposeId::new(text) {
            prop_assert!(crate::layout::check_file_name(id.as_str()).is_ok());
        }
    }
}
