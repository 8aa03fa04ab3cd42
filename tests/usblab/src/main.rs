//! Runs scenarios on a Linux kernel with USB inside QEMU: `tests/usblab/run`.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod host;

use std::process::ExitCode;

/// What went wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether not being able to run is a failure.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn skip(why: &str) -> ExitCode {
    println!("skipped: {why}");
    ExitCode::from(u8::from(in_ci()))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    skip("the USB lab needs Linux")
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser as _;
    let args = lab::Args::parse();
    match lab::run(&args) {
        Ok(lab::Outcome::Passed) => ExitCode::SUCCESS,
        Ok(lab::Outcome::Failed) => ExitCode::FAILURE,
        Ok(lab::Outcome::Skipped(why)) => skip(&why),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
mod lab {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use cabled_usblab::{Events, MEASUREMENTS, SCENARIOS, Scenario};

    use crate::Failure;
    use crate::host::machine::Machine;
    use crate::host::report::Report;
    use crate::host::{image, kernel, packages};

    /// A boot that says nothing is tried once more, with the packed kernel: some unpacked ones cannot be loaded.
    const TRIES: usize = 2;
    /// Lines of a failed boot's console that are printed; the whole is in its log.
    const TAIL: usize = 40;

    /// Run scenarios on a Linux kernel with USB, inside an emulator.
    #[derive(clap::Parser, Debug)]
    pub struct Args {
        /// Scenarios to run, or words in their names. Default: all.
        names: Vec<String>,
        /// Show the scenarios and run none.
        #[arg(long)]
        list: bool,
        /// Keep the guest's files, to boot them by hand.
        #[arg(long)]
        keep: bool,
        /// Measure, in place of testing.
        #[arg(long)]
        bench: bool,
    }

    /// How it ended.
    #[derive(Debug)]
    pub enum Outcome {
        /// Every scenario that was asked for passed.
        Passed,
        /// Some did not.
        Failed,
        /// None was tried, for this reason.
        Skipped(String),
    }

    /// Prepares, boots, reports.
    ///
    /// # Errors
    /// An unknown scenario, or a step on this computer that failed before the first boot.
    pub fn run(args: &Args) -> Result<Outcome, Failure> {
        let chosen = chosen(if args.bench { MEASUREMENTS } else { SCENARIOS }, &args.names)?;
        if args.list {
            for scenario in &chosen {
                println!("{:<28} {:<8} {}", scenario.name, scenario.events.name(), scenario.about);
            }
            return Ok(Outcome::Passed);
        }
        if let Some(why) = packages::why_not() {
            return Ok(Outcome::Skipped(why));
        }
        let started = Instant::now();
        if let Err(error) = packages::install() {
            return Ok(Outcome::Skipped(error.to_string()));
        }
        let built = built()?;
        let work = work(&built)?;
        let kernel = kernel::prepare(&cache(&work))?;
        let initramfs = work.join("initramfs");
        image::build(&kernel, &ours(&built), &work, &initramfs)?;
        println!("{}, prepared in {:.1} s", kernel.name, started.elapsed().as_secs_f64());

        let mut report = Report::default();
        for events in Events::ALL {
            let scenarios: Vec<&Scenario> = chosen
                .iter()
                .filter(|scenario| scenario.events == events)
                .copied()
                .collect();
            if !scenarios.is_empty() {
                boot(&kernel, &initramfs, &work, events, &scenarios, &mut report)?;
            }
        }
        if !args.keep {
            fs::remove_file(&initramfs)?;
        }
        let passed = report.finish(started.elapsed(), &work.join("report.txt"))?;
        Ok(if passed { Outcome::Passed } else { Outcome::Failed })
    }

    /// Boots until the guest speaks, then takes what it says.
    fn boot(
        kernel: &kernel::Kernel,
        initramfs: &Path,
        work: &Path,
        events: Events,
        scenarios: &[&Scenario],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let options = format!("usblab.events={}", events.name());
        for attempt in 0..TRIES {
            let image = kernel
                .images
                .get(attempt)
                .or(kernel.images.last())
                .ok_or("the cache holds no kernel")?;
            let machine = Machine {
                kernel: image.clone(),
                initramfs: initramfs.to_owned(),
                work: work.to_owned(),
            };
            let boot = machine.boot(events.name(), &options, scenarios, &mut |passed, verdict| {
                report.verdict(passed, verdict)
            })?;
            let spoke = boot.ready.is_some();
            match (&boot.trouble, boot.ready) {
                (None, Some(ready)) => report.line(&format!(
                    "     boot with events from {}: up after {:.1} s, off after {:.1} s",
                    events.name(),
                    ready.as_secs_f64(),
                    boot.took.as_secs_f64()
                )),
                (trouble, _) => report.line(&format!("     {}", trouble.as_deref().unwrap_or("the guest went mad"))),
            }
            let failed = boot.trouble.is_some() || boot.verdicts.iter().any(|(passed, _)| !passed);
            if failed {
                println!(
                    "--- the end of {}\n{}\n---",
                    machine.log(events.name()).display(),
                    machine.tail(events.name(), TAIL)
                );
            }
            if !spoke && attempt + 1 < TRIES {
                continue;
            }
            for scenario in scenarios {
                if !boot.verdicts.iter().any(|(_, verdict)| verdict.name == scenario.name) {
                    report.silent(scenario, boot.trouble.as_deref().unwrap_or("no verdict"));
                }
            }
            break;
        }
        Ok(())
    }

    /// The scenarios that names or words in names stand for.
    fn chosen(all: &'static [Scenario], names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
        let meant = |scenario: &Scenario, name: &String| {
            let exact = all.iter().any(|scenario| scenario.name == name);
            if exact {
                scenario.name == name
            } else {
                scenario.name.contains(name.as_str())
            }
        };
        for name in names {
            if !all.iter().any(|scenario| meant(scenario, name)) {
                return Err(format!("no scenario is called {name}; --list shows them").into());
            }
        }
        let asked = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| meant(scenario, name));
        Ok(all.iter().filter(asked).collect())
    }

    /// The folder with cargo's programs of this profile.
    fn built() -> Result<PathBuf, Failure> {
        let program = std::env::current_exe()?;
        Ok(program.parent().ok_or("no folder above this program")?.to_owned())
    }

    /// Logs and files of the guest: `target/usblab`.
    fn work(built: &Path) -> Result<PathBuf, Failure> {
        let work = built.parent().unwrap_or(built).join("usblab");
        fs::create_dir_all(&work)?;
        Ok(work)
    }

    /// Where kernels are kept between runs.
    fn cache(work: &Path) -> PathBuf {
        match std::env::var_os("XDG_CACHE_HOME") {
            Some(home) if Path::new(&home).is_absolute() => Path::new(&home).join("cabled-usblab"),
            _ => work.join("kernels"),
        }
    }

    /// Our programs that go along, and their names in the guest.
    fn ours(built: &Path) -> Vec<(PathBuf, &'static str)> {
        vec![
            (built.join("usblab-guest"), "usblab-guest"),
            (built.join("examples/usbmuxd"), "usbmuxd-cabled"),
        ]
    }
}
