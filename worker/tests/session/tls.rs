//! The session over TCP with certificates on both sides.

use std::{path::Path, process::Command, time::Duration};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tutti_worker::Tls;

use crate::rig::Rig;

/// Makes an authority `NAME.ca.pem`, and a certificate `NAME.pem` for `localhost` with its key `NAME.key`.
fn make(directory: &Path, name: &str) -> bool {
    let script = "set -e; \
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca-$0 \
            -addext basicConstraints=critical,CA:true -keyout $0.ca.key -out $0.ca.pem; \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout $0.key -out $0.csr; \
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:false\\n' > $0.ext; \
        openssl x509 -req -in $0.csr -CA $0.ca.pem -CAkey $0.ca.key -CAcreateserial -days 2 -extfile $0.ext -out $0.pem";
    let made = Command::new("sh").args(["-c", script, name]).current_dir(directory).output().unwrap();
    if !made.status.success() {
        println!("{}", String::from_utf8_lossy(&made.stderr));
    }
    made.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_show_certificates() {
    let directory = tempfile::tempdir().unwrap();
    if Command::new("openssl").arg("version").output().is_err() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "openssl is missing");
        println!("skipped: openssl is missing");
        return;
    }
    assert!(make(directory.path(), "farm") && make(directory.path(), "other"));
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let server = || {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(read("farm.pem"), read("farm.key")))
            .client_ca_root(Certificate::from_pem(read("farm.ca.pem")))
    };
    let worker = |name: &str, authority: &str| Tls {
        ca: read(&format!("{authority}.ca.pem")),
        certificate: read(&format!("{name}.pem")),
        key: read(&format!("{name}.key")),
        domain: None,
    };
    let place = || tempfile::tempdir().unwrap();
    let mut stranger = Rig::with_tls(place(), server(), worker("other", "farm")).await;
    let mut doubtful = Rig::with_tls(place(), server(), worker("farm", "other")).await;
    let mut rig = Rig::with_tls(place(), server(), worker("farm", "farm")).await;
    let mut link = rig.welcome().await;
    link.sync(|_| true).await;
    assert!(!stranger.connects_within(Duration::from_millis(500)).await, "a certificate of another authority");
    assert!(!doubtful.connects_within(Duration::from_millis(100)).await, "a controller of another authority");
}
