//! The payload's archive: cpio in the "new ASCII" format without checksums (rpm 4.18 `lib/cpio.c`).

/// One member.
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) inode: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: u32,
    pub(crate) data: &'a [u8],
}

/// Returns the archive of these members, with its trailer.
pub(crate) fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        append(&mut out, member, 1);
    }
    append(&mut out, &Member { name: "TRAILER!!!".into(), inode: 0, mode: 0, mtime: 0, data: &[] }, 1);
    out
}

fn append(out: &mut Vec<u8>, member: &Member<'_>, links: u32) {
    let sizes = [member.data.len(), member.name.len() + 1].map(crate::header::word);
    // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), size of the name, checksum
    let fields = [member.inode, member.mode, 0, 0, links, member.mtime, sizes[0], 0, 0, 0, 0, sizes[1], 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(member.name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(member.data);
    out.resize(out.len().next_multiple_of(4), 0);
}
