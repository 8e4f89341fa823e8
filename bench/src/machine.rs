//! Where a run takes place, as far as it decides the figures. Knows what the kernel tells of itself and of the processor. Linux only.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::artifact::Machine;

/// What this machine is, and what relays with their folders in `data` write to; without one, that is not known.
pub(crate) fn describe(data: Option<&Path>) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let word = |path: &str| read(path).map(|text| text.trim().to_owned());
    Ok(Machine {
        processor: processor(&read("/proc/cpuinfo")?),
        cores: std::thread::available_parallelism()?.get(),
        memory_bytes: memory_bytes(&read("/proc/meminfo")?).context("/proc/meminfo has no MemTotal")?,
        kernel: format!("{} {}", word("/proc/sys/kernel/ostype")?, word("/proc/sys/kernel/osrelease")?),
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok(),
        filesystem: data.and_then(|data| filesystem(&read("/proc/mounts").ok()?, &fs::canonicalize(data).ok()?)),
    })
}

/// That of the longest mount point that `path` is under.
fn filesystem(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let over = mounted.filter(|(point, _)| path.starts_with(point));
    // The last of those on one point hides the others.
    over.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}

/// The model's name, which not every architecture tells; else the architecture.
fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_goes_by_its_models_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\nmodel\t: 1\n"), "Some CPU @ 2.0 GHz");
        assert_eq!(processor("processor\t: 0\nCPU part\t: 0xd0c\n"), std::env::consts::ARCH);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:       24610536 kB\nMemFree: 1 kB\n"), Some(24_610_536 * 1_024));
        assert_eq!(memory_bytes(""), None);
    }

    #[test]
    fn a_path_is_on_the_filesystem_mounted_nearest() {
        let mounts = "dev / ext4 rw 0 0\ntmp /tmp tmpfs rw 0 0\nx /tmpfiles xfs rw 0 0\n";
        let of = |path: &str| filesystem(mounts, Path::new(path));
        assert_eq!(of("/tmp/a").as_deref(), Some("tmpfs"));
        assert_eq!(of("/srv/a").as_deref(), Some("ext4"));
        assert_eq!(filesystem("", Path::new("/")), None);
    }

    #[test]
    fn this_machine_is_described() {
        let machine = describe(Some(Path::new("/proc/self"))).expect("readable");
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.processor.is_empty());
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
        assert_eq!(machine.filesystem.as_deref(), Some("proc"), "that of the data, wherever the programme was started");
        assert_eq!(describe(None).expect("readable").filesystem, None);
    }
}
