//! What several tests of this crate share: Python modules as judges of our files, and real files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compose_id::{BaseProduct, ComposeDate, ComposeIdentity, ComposeType, Release, ReleaseType};
use crate::metadata::Compose;
use crate::variants::{Filter, Variants};

/// Reports a test that cannot run here; in CI that is a failure.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    println!("skipped: {reason}");
}

/// Runs a Python script in `dir` and returns what it prints; `None` if no Python here has `module`.
pub(crate) fn python(module: &str, script: &str, dir: &Path) -> Option<String> {
    let import = format!("import {module}");
    for python in ["python3", "/usr/bin/python3"] {
        let probe = Command::new(python).args(["-c", &import]).output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            continue;
        }
        let output = Command::new(python).arg("-c").arg(script).current_dir(dir).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        return Some(String::from_utf8(output.stdout).unwrap());
    }
    skip(&format!("no Python here has the module {module}"));
    None
}

/// Directory of real packages and metadata.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("TUTTI_SHARED") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{} is missing", path.display()));
    None
}

pub(crate) fn release() -> Release {
    Release {
        name: "Test Distribution".to_owned(),
        short: "Test".to_owned(),
        version: "1.2".to_owned(),
        kind: ReleaseType::Ga,
        internal: false,
        base_product: None,
    }
}

pub(crate) fn layered_release() -> Release {
    Release {
        kind: ReleaseType::Updates,
        base_product: Some(BaseProduct {
            name: "Base é".to_owned(),
            short: "Base".to_owned(),
            version: "9".to_owned(),
            kind: ReleaseType::Eus,
        }),
        ..release()
    }
}

pub(crate) fn compose(release: &Release, kind: ComposeType, label: Option<&str>) -> Compose {
    let identity = ComposeIdentity { date: ComposeDate::new("20261122").unwrap(), kind, respin: 3 };
    Compose { id: identity.id(release).unwrap(), identity, label: label.map(|label| label.parse().unwrap()) }
}

/// Excerpt of a generated distribution, with all kinds of variants.
pub(crate) const VARIANTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE variants PUBLIC "-//Red Hat, Inc.//DTD Variants info//EN" "variants.dtd">
<variants>
  <variant id="ResilientStorage" name="Resilient Storage" type="layered-product">
    <release name="Resilient Storage" short="RS" version="2.1"/>
    <arches>
      <arch>x86_64</arch>
    </arches>
    <groups>
      <group>storage</group>
    </groups>
  </variant>
  <variant id="Server" name="Server" type="variant" has_optional="true">
    <arches>
      <arch>x86_64</arch>
      <arch>aarch64</arch>
    </arches>
    <groups>
      <group default="true">core</group>
      <group uservisible="false">standard</group>
      <group glob="true">*-tools</group>
    </groups>
    <environments>
      <environment display_order="10">minimal-environment</environment>
      <environment>server-product-environment</environment>
    </environments>
    <variants>
      <ref id="ResilientStorage"/>
      <variant id="HighAvailability" name="High Availability" type="addon">
        <arches>
          <arch>x86_64</arch>
          <arch>s390x</arch>
        </arches>
        <groups>
          <group>ha</group>
        </groups>
      </variant>
    </variants>
    <buildinstallpackages>
      <package>lorax-templates</package>
    </buildinstallpackages>
  </variant>
  <variant id="Everything" name="Everything" type="variant">
    <arches>
      <arch>x86_64</arch>
      <arch>aarch64</arch>
      <arch>s390x</arch>
    </arches>
  </variant>
  <variant id="Server-RT" name="Server RT" type="variant">
    <arches>
      <arch>x86_64</arch>
    </arches>
    <modules>
      <module>nodejs:20</module>
      <module glob="true">perl:*</module>
      <kojitag>modular-1</kojitag>
    </modules>
  </variant>
</variants>
"#;

pub(crate) fn variants() -> Variants {
    Variants::parse(VARIANTS, "variants.xml", &Filter::default()).unwrap()
}
