//! Which packages come for the second library set too: the methods of python-multilib 1.3, as Pungi calls them (without a
//! configuration file, so that its lists are empty).
//!
//! The methods' rule for names that "prefer 64 bits" (gdb, strace, …) asks for `64` in the architecture of the candidate,
//! which is of the second library set; it is kept although only odd architectures can meet it.

use std::collections::HashMap;

use super::Error;
use super::request::GatherRequest;
use crate::glob::Pattern;
use crate::pool::{Id, Pool};
use crate::universe::UniverseError;

const PREFER_64: [&str; 6] = ["frysk", "gdb", "ltrace", "strace", "systemtap", "systemtap-runtime"];

/// Directories below `/usr/lib` and `/usr/lib64` all of whose files count.
const PLUGINS: [&str; 7] =
    ["/alsa-lib", "/dri", "/gtk-2.0/modules", "/gtk-2.0/immodules", "/krb5/plugins", "/sasl2", "/vdpau"];

/// Last parts of directories below `gtk-2.0` that count.
const GTK: [&str; 6] = ["/engines", "/modules", "/immodules", "/loaders", "/printbackends", "/filesystems"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    None,
    All,
    Runtime,
    Devel,
}

/// The rules of one solve, and their answers so far.
#[derive(Debug)]
pub(super) struct Multilib {
    methods: Vec<Rules>,
    blacklist: Vec<Pattern>,
    whitelist: Vec<Pattern>,
    known: HashMap<Id, bool>,
}

impl Multilib {
    pub(super) fn new(request: &GatherRequest) -> Result<Multilib, Error> {
        let mut methods = Vec::new();
        for method in &request.multilib_methods {
            methods.push(match method.as_str() {
                "none" => Rules::None,
                "all" => Rules::All,
                "runtime" => Rules::Runtime,
                "devel" => Rules::Devel,
                _ => return Err(Error::MultilibMethod(method.clone())),
            });
        }
        let patterns = |list: &[String]| list.iter().map(|pattern| Pattern::shell(pattern)).collect();
        Ok(Multilib {
            methods,
            blacklist: patterns(&request.multilib_blacklist),
            whitelist: patterns(&request.multilib_whitelist),
            known: HashMap::new(),
        })
    }

    /// Whether the blacklist, the whitelist or a method, in this order, wants the package.
    pub(super) fn wants(&mut self, pool: &Pool<'_>, id: Id) -> Result<bool, UniverseError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let name = pool.name(id);
        let listed = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        let wanted = !listed(&self.blacklist) && (listed(&self.whitelist) || self.selects(pool, id)?);
        self.known.insert(id, wanted);
        Ok(wanted)
    }

    fn selects(&self, pool: &Pool<'_>, id: Id) -> Result<bool, UniverseError> {
        for rules in &self.methods {
            let selected = match rules {
                Rules::None => false,
                Rules::All => true,
                Rules::Runtime => runtime(pool, id)?,
                Rules::Devel => runtime(pool, id)? || devel(pool, id),
            };
            if selected {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn runtime(pool: &Pool<'_>, id: Id) -> Result<bool, UniverseError> {
    let (name, provides) = (pool.name(id), || pool.view(id).provide_names());
    let is_kernel = name.starts_with("kernel");
    if pool.arch(id).contains("64") {
        let kernel = is_kernel && provides().any(|provide| provide == "kernel" || provide == "kernel-devel");
        if PREFER_64.contains(&name) || kernel {
            return Ok(true);
        }
    }
    if is_kernel && provides().any(|provide| provide == "kernel") {
        return Ok(false);
    }
    let view = pool.view(id);
    Ok(pool.files(id)?.of(view.index()).any(|(directory, name)| is_runtime_file(directory, name)))
}

fn devel(pool: &Pool<'_>, id: Id) -> bool {
    let name = pool.name(id);
    if name.starts_with("ghc-") {
        return false;
    }
    let for_building = |name: &str| name.ends_with("-devel") || name.ends_with("-static");
    if name.starts_with("kernel") {
        // The first of the provides that says something decides; python-multilib goes through them in their order,
        // here they are sorted.
        let provides = pool.view(id).provide_names();
        let telling = provides.into_iter().find(|provide| for_building(provide));
        match telling {
            Some("kernel-devel") => return false,
            Some(_) => return true,
            None => {}
        }
    }
    for_building(name)
}

/// `*.so.*` of fnmatch.
fn is_library(name: &str) -> bool {
    name.contains(".so.")
}

fn is_runtime_file(directory: &str, name: &str) -> bool {
    let in_root = directory == "/lib" || directory == "/lib64";
    let in_usr = directory == "/usr/lib" || directory == "/usr/lib64";
    if (in_root || in_usr) && is_library(name) {
        return true;
    }
    if in_root && (name.starts_with("libnss_") || name.starts_with("libdb-")) {
        return true;
    }
    match directory {
        "/lib/security" | "/lib64/security" | "/etc/lsb-release.d" => return true,
        "/etc/ld.so.conf.d" => return name.ends_with(".conf"),
        _ => {}
    }
    // What is left is below /usr/lib or /usr/lib64; "/usr/lib*" of the patterns may also reach, say, /usr/libexec.
    let Some(rest) = directory.strip_prefix("/usr/lib") else { return false };
    let below = rest.strip_prefix("64").unwrap_or(rest);
    if PLUGINS.contains(&below) {
        return true;
    }
    if below.starts_with("/gtk-2.0") {
        return inner(below, "/gtk-2.0/").is_some_and(|inner| GTK.iter().any(|last| inner.ends_with(last)));
    }
    if below.starts_with("/gstreamer-") {
        return true;
    }
    match below {
        "/oprofile" if is_library(name) => return true,
        "/wine" if name.ends_with(".so") => return true,
        "/sane" if name.starts_with("libsane-") => return true,
        _ => {}
    }
    let matches = |start: &str, end: &str| inner(rest, start).is_some_and(|inner| inner.contains(end));
    matches("/qt", "/plugins/")
        || matches("/kde", "/plugins/")
        || rest.contains("/qt5/qml/")
        || inner(rest, "/gdk-pixbuf-2.0/").is_some_and(|inner| inner.ends_with("/loaders"))
        || rest.contains("/xine/plugins/")
}

/// Returns what follows the first `start`: for patterns `*start…`.
fn inner<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    text.split_once(start).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::is_runtime_file;

    #[test]
    fn files_of_runtime_packages() {
        let yes = [
            "/lib/libc.so.6",
            "/usr/lib64/libz.so.1.2",
            "/usr/lib/alsa-lib/libx.so",
            "/usr/lib64/krb5/plugins/x",
            "/lib/security/pam_x.so",
            "/etc/lsb-release.d/core",
            "/etc/ld.so.conf.d/x.conf",
            "/lib64/libnss_files.so",
            "/lib/libdb-5.so",
            "/usr/lib/gtk-2.0/2.10.0/engines/x",
            "/usr/lib64/gtk-2.0/2.10.0/printbackends/x",
            "/usr/lib/gstreamer-1.0/libx.so",
            "/usr/lib64/qt5/plugins/platforms/libx.so",
            "/usr/lib/kde4/plugins/styles/x",
            "/usr/lib64/qt5/qml/QtQuick/x",
            "/usr/lib/gdk-pixbuf-2.0/2.10.0/loaders/x.so",
            "/usr/lib/xine/plugins/2.0/x",
            "/usr/lib/oprofile/libx.so.1",
            "/usr/lib/wine/x.dll.so",
            "/usr/lib/sane/libsane-x.so",
        ];
        let no = [
            "/usr/lib/libfoo.so",
            "/usr/lib/foo/libx.so.1",
            "/etc/ld.so.conf.d/x.txt",
            "/usr/lib/libnss_files.so",
            "/usr/lib/gtk-2.0/engines/x",
            "/usr/lib/gtk-3.0/2.10.0/engines/x",
            "/usr/bin/x.so.1",
            "/usr/lib/qt5/plugins/x",
            "/usr/lib/wine/x.so.1",
            "/usr/share/qt5/qml/a/b",
            "/libx.so.1",
        ];
        let test = |path: &str| {
            let (directory, name) = crate::universe::split_path(path);
            is_runtime_file(directory, name)
        };
        for path in yes {
            assert!(test(path), "{path}");
        }
        for path in no {
            assert!(!test(path), "{path}");
        }
    }
}
