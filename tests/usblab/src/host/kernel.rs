//! The distribution's kernel: downloaded, cut down to what the guest needs, and kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::host::{command, packages};

/// Packages that stand for the current kernel: Debian's, then Ubuntu's. The kernels for clouds have no USB at all.
const CURRENT: &[&str] = &["linux-image-amd64", "linux-image-generic"];
/// What belongs to a kernel, when it comes in parts.
const PARTS: &[&str] = &["linux-image-", "linux-modules-", "linux-binary-"];
/// Without these there is nothing to test.
const MODULES: &[&str] = &["vhci-hcd"];
/// A driver that fights over a phone's network function; there on every desktop.
const EXTRA_MODULES: &[&str] = &["ipheth"];

const UNPACK: Duration = Duration::from_secs(60);

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name and version of the package.
    pub name: String,
    /// What QEMU loads, best first: unpacked saves three emulated seconds, packed boots everywhere.
    pub images: Vec<PathBuf>,
    /// Modules to load, in their order.
    pub modules: Vec<PathBuf>,
    /// Modules that only some scenarios load.
    pub extra: Vec<PathBuf>,
}

/// The newest kernel of the distribution, from `cache` if it is there.
///
/// # Errors
/// It can neither be downloaded nor found in the cache, or holds no USB.
pub fn prepare(cache: &Path) -> Result<Kernel, Failure> {
    let wanted = current().or_else(|_| packages::update().and_then(|()| current()));
    let (package, version) = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return newest(cache).ok_or(error),
    };
    let folder = cache.join(format!("{package}_{}", version.replace([':', '/'], "-")));
    if !folder.is_dir() {
        println!("downloading {package} {version}");
        let kept = unpack(&package, &version, cache, &folder).or_else(|_| {
            // An old list names a package that the archive no longer has.
            packages::update()?;
            let (package, version) = current()?;
            unpack(&package, &version, cache, &folder)
        });
        if let Err(error) = kept {
            return newest(cache).ok_or(error);
        }
    }
    load(&folder)
}

/// The package of the distribution's current kernel.
fn current() -> Result<(String, String), Failure> {
    for meta in CURRENT {
        if packages::candidate(meta)?.is_none() {
            continue;
        }
        let image = packages::depends(meta)?
            .into_iter()
            .find(|name| name.starts_with("linux-image-"));
        if let Some(image) = image
            && let Some(version) = packages::candidate(&image)?
        {
            return Ok((image, version));
        }
    }
    Err(format!(
        "none of {} can be had from this computer's package sources",
        CURRENT.join(", ")
    )
    .into())
}

/// Downloads a kernel with all its parts and moves what is needed to `folder`, whole or not at all.
fn unpack(package: &str, version: &str, cache: &Path, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(cache)?;
    let work = tempfile::Builder::new().prefix("unpacking-").tempdir_in(cache)?;
    let (debs, root, kept) = (
        work.path().join("debs"),
        work.path().join("root"),
        work.path().join("kept"),
    );
    for path in [&debs, &root, &kept] {
        fs::create_dir(path)?;
    }
    for (part, version) in parts(package, version)? {
        packages::download(&part, &version, &debs, &root)?;
    }
    let files = files(&root)?;
    let packed = files
        .iter()
        .find(|path| file_name(path).starts_with("vmlinuz-"))
        .ok_or("the package holds no vmlinuz")?;
    fs::copy(packed, kept.join("vmlinuz"))?;
    // Without an unpacked kernel the guest starts a little later, that is all.
    let _ = unpack_image(&fs::read(packed)?, &kept.join("vmlinux"));
    keep_modules(&files, MODULES, &kept.join("modules"))?;
    if keep_modules(&files, EXTRA_MODULES, &kept.join("extra")).is_err() {
        println!("this kernel lacks {}", EXTRA_MODULES.join(", "));
    }
    fs::rename(&kept, folder)?;
    Ok(())
}

/// The package itself and the parts it and its like depend on; Ubuntu and newer Debians split a kernel up.
fn parts(package: &str, version: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut parts = BTreeMap::from([(package.to_owned(), version.to_owned())]);
    let release = package
        .trim_start_matches("linux-image-")
        .trim_start_matches("unsigned-");
    let mut open = vec![package.to_owned()];
    // Ubuntu's own rule: vhci-hcd is in the extra modules, on which only the meta-package depends.
    open.extend([
        format!("linux-modules-{release}"),
        format!("linux-modules-extra-{release}"),
    ]);
    while let Some(name) = open.pop() {
        let Some(version) = packages::candidate(&name)? else {
            continue;
        };
        parts.insert(name.clone(), version);
        let more = packages::depends(&name)?;
        open.extend(more.into_iter().filter(|more| {
            more.contains(release) && PARTS.iter().any(|part| more.starts_with(part)) && !parts.contains_key(more)
        }));
    }
    Ok(parts)
}

/// A kernel from the cache.
fn load(folder: &Path) -> Result<Kernel, Failure> {
    let images: Vec<PathBuf> = ["vmlinux", "vmlinuz"].map(|name| folder.join(name)).into();
    Ok(Kernel {
        name: file_name(folder).into_owned(),
        images: images.into_iter().filter(|path| path.is_file()).collect(),
        modules: in_order(&folder.join("modules"))?,
        extra: in_order(&folder.join("extra")).unwrap_or_default(),
    })
}

/// What the cache has, when nothing can be downloaded.
fn newest(cache: &Path) -> Option<Kernel> {
    let mut folders: Vec<PathBuf> = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.join("vmlinuz").is_file());
    folders.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    let kernel = load(&folders.pop()?).ok()?;
    println!("no package source answers; using {} from the cache", kernel.name);
    Some(kernel)
}

/// Modules of a folder; their names start with their place.
fn in_order(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut modules: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    Ok(modules)
}

/// Unpacks modules and all that they need into a folder, numbered in the order in which they are to be loaded. What is
/// built into the kernel is not there to be loaded.
fn keep_modules(files: &[PathBuf], wanted: &[&str], folder: &Path) -> Result<(), Failure> {
    let built_in: String = files
        .iter()
        .filter(|path| file_name(path) == "modules.builtin")
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    fs::create_dir_all(folder)?;
    let mut order = Vec::new();
    for name in wanted {
        place(name, files, &built_in, folder, &mut order)?;
    }
    for (number, name) in order.iter().enumerate() {
        fs::rename(folder.join(name), folder.join(format!("{number:02}-{name}.ko")))?;
    }
    Ok(())
}

fn place(name: &str, files: &[PathBuf], built_in: &str, folder: &Path, order: &mut Vec<String>) -> Result<(), Failure> {
    let name = name.replace('_', "-");
    if order.contains(&name) {
        return Ok(());
    }
    let like = |path: &Path| {
        let file = file_name(path).replace('_', "-");
        file.split_once(".ko").is_some_and(|(stem, _)| stem == name)
    };
    let Some(path) = files.iter().find(|path| like(path)) else {
        let built_in = built_in.lines().any(|line| like(Path::new(line)));
        return if built_in {
            Ok(())
        } else {
            Err(format!("the kernel has no module {name}").into())
        };
    };
    let to = folder.join(&name);
    match path.extension().and_then(OsStr::to_str) {
        Some("xz") => command::filter(Command::new("xz").arg("-dc"), &fs::read(path)?, &to, UNPACK)?,
        Some("zst") => command::filter(Command::new("zstd").arg("-dc"), &fs::read(path)?, &to, UNPACK)?,
        Some("gz") => command::filter(Command::new("gzip").arg("-dc"), &fs::read(path)?, &to, UNPACK)?,
        _ => fs::copy(path, &to).map(drop)?,
    }
    for needed in needs(&fs::read(&to)?) {
        place(&needed, files, built_in, folder, order)?;
    }
    order.push(name);
    Ok(())
}

/// The modules that a module says it needs: `depends=usbcore,usbip-core` among its strings.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = module.get(at + KEY.len()..).unwrap_or_default();
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The ELF inside a `bzImage`, found by the header's own words (Linux boot protocol 2.08 and later).
fn unpack_image(packed: &[u8], to: &Path) -> Result<(), Failure> {
    let word = |at: usize| -> Option<usize> {
        let bytes = packed.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let payload = || -> Option<&[u8]> {
        let sectors = match usize::from(*packed.get(0x1f1)?) {
            0 => 4,
            sectors => sectors,
        };
        let start = sectors.checked_add(1)?.checked_mul(512)?.checked_add(word(0x248)?)?;
        // Its last four bytes are the unpacked size, which no decompressor expects.
        packed.get(start..start.checked_add(word(0x24c)?)?.checked_sub(4)?)
    };
    let payload = payload().ok_or("not a bzImage")?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => return Err("compressed in an unknown way".into()),
    };
    let partial = to.with_extension("partial");
    command::filter(Command::new(program).arg("-dc"), payload, &partial, UNPACK)?;
    if !fs::read(&partial)?.starts_with(b"\x7fELF") {
        fs::remove_file(&partial)?;
        return Err("unpacked, it is no ELF".into());
    }
    fs::rename(&partial, to)?;
    Ok(())
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        assert_eq!(
            needs(b"\x7fELF..\0license=GPL\0depends=usbcore,usbip-core\0retpoline=Y\0"),
            ["usbcore", "usbip-core"]
        );
        assert!(needs(b"\x7fELF..\0depends=\0").is_empty());
        assert!(needs(b"\x7fELF").is_empty());
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[0; 0x24f], &[0xff; 0x300]] {
            assert!(unpack_image(bytes, &folder.path().join("vmlinux")).is_err());
        }
    }
}
