//! Protobuf: state records, messages of the protocol, and what blobs hold.

use prost::Message;
use tutti_controller::lifecycle::{Header, JobRecord};
use tutti_job::{JobName, JobSpec, LogicalPath, Manifest, PackageList};
use tutti_proto::{compose, worker};

use crate::{Signature, combined, signature};

/// State records: header and job, as the store has them. What is read is written and read again.
pub fn records(data: &[u8]) -> Signature {
    let header = Header::decode(data);
    if let Ok(header) = &header {
        assert!(Header::decode(&header.encode()).is_ok_and(|again| again == *header), "{header:?}");
    }
    let job = JobRecord::decode(data);
    if let Ok(job) = &job {
        assert!(JobRecord::decode(&job.encode()).is_ok_and(|again| again == *job), "{job:?}");
    }
    combined(&[signature(&header), signature(&job)])
}

fn message<M: Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) -> Signature {
    let decoded = M::decode(data);
    if let Ok(message) = &decoded {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert!(again.is_ok_and(|again| again == *message), "{message:?}");
    }
    signature(&decoded)
}

/// Messages that other programs send: the first byte chooses which.
pub fn protocol(data: &[u8]) -> Signature {
    const DECODERS: [fn(&[u8]) -> Signature; 13] = [
        message::<worker::SessionRequest>,
        message::<worker::SessionResponse>,
        message::<worker::ExchangeRequest>,
        message::<worker::ExchangeResponse>,
        message::<worker::WriteRequest>,
        message::<worker::QueryWriteStatusRequest>,
        message::<compose::SubmitRequest>,
        message::<compose::ShowResponse>,
        message::<compose::WatchResponse>,
        message::<compose::LogsRequest>,
        message::<compose::RetryRequest>,
        message::<compose::WhyRequest>,
        message::<compose::ListWorkersResponse>,
    ];
    let Some((choice, rest)) = data.split_first() else { return 0 };
    let index = usize::from(*choice) % DECODERS.len();
    combined(&[index as u64, DECODERS[index](rest)])
}

/// Specs, manifests and package lists, which workers and controller exchange as blobs; job names and paths as texts.
pub fn job_messages(data: &[u8]) -> Signature {
    let spec = JobSpec::decode_checked(data);
    if let Ok(spec) = &spec {
        assert!(JobSpec::decode_checked(&spec.encode_canonical()).is_ok_and(|again| again == *spec));
        let _ = spec.key();
    }
    let manifest = Manifest::decode_checked(data);
    if let Ok(manifest) = &manifest {
        for entry in &manifest.entries {
            let parts: Vec<&str> = entry.path.split('/').collect();
            assert!(!parts.iter().any(|part| matches!(*part, "" | "." | "..")), "{:?}", entry.path);
        }
        let (bytes, _) = manifest.encode_canonical();
        assert!(Manifest::decode_checked(&bytes).is_ok_and(|again| again == *manifest));
    }
    let packages = PackageList::decode_checked(data);
    if let Ok(packages) = &packages {
        for package in &packages.packages {
            assert!(!package.file_name().contains('/'), "{:?}", package.file_name());
        }
    }
    let text = String::from_utf8_lossy(data);
    let name = text.parse::<JobName>();
    if let Ok(name) = &name {
        assert_eq!(name.to_string().parse::<JobName>().ok().as_ref(), Some(name));
    }
    let path = text.parse::<LogicalPath>();
    combined(&[signature(&spec), signature(&manifest), signature(&packages), signature(&name), signature(&path)])
}
