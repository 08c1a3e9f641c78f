//! images.json: every image of a compose by variant and architecture (productmd 1.x `images.py`).

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Compose, Error, check_arch, check_path, write_document};
use crate::variants::VariantUid;

const FILE: &str = "images.json";

/// Image types of productmd 1.x `IMAGE_TYPE_FORMAT_MAPPING`.
pub(super) const TYPES: &[&str] = &[
    "appx",
    "boot",
    "bootable-container",
    "cd",
    "container",
    "docker",
    "dvd",
    "dvd-debuginfo",
    "dvd-ostree",
    "dvd-ostree-osbuild",
    "ec2",
    "fex",
    "kvm",
    "live",
    "live-osbuild",
    "liveimg-squashfs",
    "netinst",
    "ociarchive",
    "p2v",
    "qcow",
    "qcow2",
    "raw",
    "raw-xz",
    "rescue",
    "rhevm-ova",
    "tar-gz",
    "vagrant-hyperv",
    "vagrant-libvirt",
    "vagrant-virtualbox",
    "vagrant-vmware-fusion",
    "vdi",
    "vhd-compressed",
    "vmdk",
    "vpc",
    "vsphere-ova",
    "wsl2",
];

/// Image formats of the same table.
pub(super) const FORMATS: &[&str] = &[
    "appx",
    "erofs",
    "erofs.gz",
    "erofs.xz",
    "iso",
    "liveimg.squashfs",
    "oci",
    "ociarchive",
    "qcow",
    "qcow2",
    "raw",
    "raw.xz",
    "rhevm.ova",
    "squashfs",
    "squashfs.gz",
    "squashfs.xz",
    "tar",
    "tar.gz",
    "tar.xz",
    "vagrant-hyperv.box",
    "vagrant-libvirt.box",
    "vagrant-virtualbox.box",
    "vagrant-vmware-fusion.box",
    "vdi",
    "vhd",
    "vhd.gz",
    "vhd.xz",
    "vhdfixed.xz",
    "vmdk",
    "vsphere.ova",
    "wsl",
];

/// One image. The fields are in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Variants whose content a unified image holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_variants: Vec<String>,
    /// Architecture, `src` for a source image.
    pub arch: String,
    /// Whether a machine can start from it.
    pub bootable: bool,
    /// Digests by algorithm.
    pub checksums: BTreeMap<String, String>,
    /// Number of discs of the set.
    pub disc_count: u32,
    /// Number of this disc, from 1.
    pub disc_number: u32,
    /// Format, the suffix of the file.
    pub format: String,
    /// MD5 written into an ISO for its own check.
    pub implant_md5: Option<String>,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Path relative to `compose/`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// What is inside; often the variant.
    pub subvariant: String,
    /// Type.
    pub r#type: String,
    /// Whether it holds content of several variants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unified: bool,
    /// Volume label of an ISO.
    pub volume_id: Option<String>,
}

/// [`Image`] as productmd writes it: a unified image always has its list of variants.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_variants: Option<&'a [String]>,
    arch: &'a str,
    bootable: bool,
    checksums: &'a BTreeMap<String, String>,
    disc_count: u32,
    disc_number: u32,
    format: &'a str,
    implant_md5: Option<&'a str>,
    mtime: i64,
    path: &'a str,
    size: u64,
    subvariant: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unified: Option<bool>,
    volume_id: Option<&'a str>,
}

type Identity<'a> = (&'a str, &'a str, &'a str, &'a str, u32, bool, &'a [String]);

impl Image {
    /// What must tell the images of a compose apart.
    fn identity(&self) -> Identity<'_> {
        (
            &self.subvariant,
            &self.r#type,
            &self.format,
            &self.arch,
            self.disc_number,
            self.unified,
            &self.additional_variants,
        )
    }

    fn validate(&self) -> Result<(), Error> {
        check_path(FILE, &self.path)?;
        let error = |what, value: &str, reason| Err(Error::new(FILE, what, value, reason));
        if !TYPES.contains(&self.r#type.as_str()) {
            return error("image type", &self.r#type, "is not known to productmd");
        }
        if !FORMATS.contains(&self.format.as_str()) {
            return error("image format", &self.format, "is not known to productmd");
        }
        if self.size == 0 || self.checksums.is_empty() || self.arch.is_empty() {
            return error("image", &self.path, "has no size, no checksum or no architecture");
        }
        if self.volume_id.as_deref() == Some("") {
            return error("image", &self.path, "has an empty volume id");
        }
        let hex =
            |text: &String| text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        if !self.implant_md5.as_ref().is_none_or(hex) {
            return error("image", &self.path, "has an implanted MD5 that is none");
        }
        if !self.additional_variants.is_empty() && !self.unified {
            return error("image", &self.path, "has several variants but is not unified");
        }
        Ok(())
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            additional_variants: self.unified.then_some(&self.additional_variants),
            arch: &self.arch,
            bootable: self.bootable,
            checksums: &self.checksums,
            disc_count: self.disc_count,
            disc_number: self.disc_number,
            format: &self.format,
            implant_md5: self.implant_md5.as_deref(),
            mtime: self.mtime,
            path: &self.path,
            size: self.size,
            subvariant: &self.subvariant,
            r#type: &self.r#type,
            unified: self.unified.then_some(true),
            volume_id: self.volume_id.as_deref(),
        }
    }
}

/// Content of images.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    images: BTreeMap<String, BTreeMap<String, Vec<Image>>>,
}

impl Images {
    /// Lists an image under a variant and binary architecture; a source image is listed under each of them.
    ///
    /// # Errors
    /// If productmd would refuse the image, or another image with other checksums has the same identity (subvariant,
    /// type, format, architecture, disc number, unified, variants).
    pub fn add(&mut self, variant: &VariantUid, arch: &str, image: Image) -> Result<(), Error> {
        check_arch(FILE, arch)?;
        image.validate()?;
        let mut listed = self.images.values().flat_map(BTreeMap::values).flatten();
        if listed.any(|other| other.identity() == image.identity() && other.checksums != image.checksums) {
            return Err(Error::new(FILE, "image", image.path, "cannot be told apart from another image"));
        }
        let images = self.images.entry(variant.to_string()).or_default().entry(arch.to_owned()).or_default();
        if !images.contains(&image) {
            images.push(image);
            images.sort_by(|left, right| left.path.cmp(&right.path));
        }
        Ok(())
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Writes images.json.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&self, out: impl io::Write, compose: &Compose) -> io::Result<()> {
        #[derive(Serialize)]
        struct Payload<'a> {
            compose: super::ComposeSection<'a>,
            images: BTreeMap<&'a str, BTreeMap<&'a str, Vec<Entry<'a>>>>,
        }
        let mut images: BTreeMap<&str, BTreeMap<&str, Vec<Entry<'_>>>> = BTreeMap::new();
        for (variant, arches) in &self.images {
            let target = images.entry(variant).or_default();
            for (arch, list) in arches {
                target.insert(arch, list.iter().map(Image::entry).collect());
            }
        }
        let payload = Payload { compose: compose.section(), images };
        write_document(out, "productmd.images", payload)
    }
}
