//! Starting QEMU, and finding out whether it can use the processor's virtualization.

use super::run_folder::{wait, Ports, RunFolder};
use super::{Vm, VmOptions};
use crate::command::{in_tree, output};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

impl Vm {
    /// Starts QEMU from the build tree.
    pub(super) fn qemu(
        &self,
        run: &Path,
        options: &VmOptions,
        disk: Option<&Path>,
        accel: Accelerator,
    ) -> Result<Child> {
        let boot = self.cache.path("boot");
        let disks = self.cache.path("disks");
        let binds: [(&Path, &str); 3] = [
            (&boot, "/crkit/boot"),
            (&disks, "/crkit/disks"),
            (run, "/crkit/run"),
        ];
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |text: &str| arguments.extend(text.split(' ').map(str::to_owned));
        add("qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35,vmport=off,usb=off -rtc base=utc");
        match accel {
            Accelerator::Kvm => add("-accel kvm -cpu host"),
            // One thread for all processors: with one each, QEMU 10 crashes guests that patch their own code while
            // another processor runs it ("Oops: int3"). erms makes the emulator copy byte by byte.
            Accelerator::Tcg => add("-accel tcg,thread=single -cpu max,-erms"),
        }
        add(&format!("-m {} -smp {}", options.mem_mb, options.smp));
        add("-kernel /crkit/boot/vmlinuz -initrd /crkit/boot/initrd");
        add("-chardev file,id=console,path=/crkit/run/console -serial chardev:console");
        add("-device virtio-serial-pci");
        for (number, port) in ["stdout", "stderr", "status"].iter().enumerate() {
            add(&format!(
                "-chardev file,id={port},path=/crkit/run/{port},append=on"
            ));
            add(&format!(
                "-device virtserialport,nr={},chardev={port},name=crkit.{port}",
                number + 2
            ));
        }
        if options.interactive {
            add("-chardev stdio,id=terminal,signal=off -device virtconsole,nr=1,chardev=terminal");
        }
        let mut drive = |id: &str, path: &str, more: &str| {
            add(&format!(
                "-drive if=none,id={id},format=raw,file={path},{more}"
            ));
            add(&format!("-device virtio-blk-pci,drive={id},serial={id}"));
        };
        let root = match options.runtimes {
            true => "/crkit/boot/runtimes.ext4",
            false => "/crkit/boot/root.ext4",
        };
        drive("root", root, "snapshot=on,cache=unsafe");
        drive("payload", "/crkit/run/payload.tar", "readonly=on");
        drive("out", "/crkit/run/out.ext4", "cache=unsafe,discard=unmap");
        if let Some(name) = disk.and_then(Path::file_name) {
            drive(
                "data",
                &format!("/crkit/disks/{}", name.to_string_lossy()),
                "cache=writeback,discard=unmap",
            );
        }
        add("-append");
        // An oops stays visible and does not reboot; a panic ends the run at once.
        // On a busy host the emulated timer may not tick in time for the check of its wiring.
        let clock = match accel {
            Accelerator::Kvm => String::new(),
            Accelerator::Tcg => super::clock::words(self.ticks_per_second()),
        };
        let append = format!(
            "console=ttyS0 panic=-1 loglevel=7 no_timer_check {clock} {}",
            options.append
        );
        arguments.push(append.trim_end().to_owned());
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let errors =
            File::create(run.join("qemu-errors")).context("cannot write into the run's folder")?;
        let mut command = in_tree(&self.cache.build_tree(), &binds, &words);
        command.env("TMPDIR", "/crkit/run").stderr(errors);
        if options.interactive {
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        command.spawn().context("cannot start QEMU")
    }

    /// How often the guest's kernel ticks in a second.
    fn ticks_per_second(&self) -> u64 {
        let folder = self.kernel.source_folder();
        let config = self
            .cache
            .build_tree()
            .join(folder.trim_start_matches('/'))
            .join(".config");
        super::clock::ticks_per_second(&fs::read_to_string(config).unwrap_or_default())
    }

    /// KVM where it works, otherwise emulation. `CRKIT_ACCEL` (`kvm` or `tcg`) decides without a probe.
    pub(super) fn accelerator(&self) -> Accelerator {
        match std::env::var("CRKIT_ACCEL").as_deref() {
            Ok("kvm") => return Accelerator::Kvm,
            Ok("tcg") => return Accelerator::Tcg,
            _ => {}
        }
        if !Path::new("/dev/kvm").exists() {
            return Accelerator::Tcg;
        }
        // Whether it works is a property of this boot of this machine.
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let Ok(_lock) = self.cache.lock("kvm-probe") else {
            return Accelerator::Tcg;
        };
        let known = self.cache.stamp("kvm-probe").unwrap_or_default();
        let works = match known.strip_prefix(boot_id.as_str()) {
            Some(answer) => answer == "yes",
            None => {
                let works = self.kvm_boots();
                let answer = if works { "yes" } else { "no" };
                // Without the stamp the next run only probes again.
                let _ = self
                    .cache
                    .set_stamp("kvm-probe", &format!("{boot_id}{answer}"));
                works
            }
        };
        if works {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        }
    }

    /// Boots once with KVM. A device node is not enough: some hosts offer one that cannot run a current kernel.
    fn kvm_boots(&self) -> bool {
        let probe = || -> Result<bool> {
            let folder = RunFolder::new(&self.cache)?;
            let options = VmOptions {
                script: "true\n".into(),
                ..VmOptions::default()
            };
            self.make_payload(&folder.path, &options)?;
            let mut copy = Command::new("cp");
            copy.args(["--sparse=always"]);
            output(
                copy.arg(self.cache.path("boot/out.ext4"))
                    .arg(folder.path.join("out.ext4")),
            )?;
            let mut ports = Ports::new(&folder.path, false)?;
            let mut qemu = self.qemu(&folder.path, &options, None, Accelerator::Kvm)?;
            wait(
                &mut qemu,
                Instant::now() + Duration::from_secs(30),
                &mut ports,
            )?;
            let report = fs::read_to_string(folder.path.join("status")).unwrap_or_default();
            Ok(report.contains("exit 0"))
        };
        probe().unwrap_or(false)
    }
}
