//! One boot of the guest.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cabled_usblab::{COMMAND_LINE, Line, Scenario, Verdict};

use crate::Failure;
use crate::host::command::{self, find, tail};

/// From the start of QEMU to the first line of the guest: two to seven seconds, much more on a busy machine.
const BOOT: Duration = Duration::from_secs(60);
/// What the guest may take between two scenarios, beside the scenario's own limit.
const BETWEEN: Duration = Duration::from_secs(20);
/// From the last line to the end of QEMU.
const OFF: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(30);

/// What to boot.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The guest's files.
    pub initramfs: PathBuf,
    /// Where logs go.
    pub work: PathBuf,
}

/// How a boot went.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// What the guest said of its scenarios, in order.
    pub verdicts: Vec<(bool, Verdict)>,
    /// From the start of QEMU to the guest's first line; `None` if there was none.
    pub ready: Option<Duration>,
    /// From start to end.
    pub took: Duration,
    /// What went wrong with the boot itself.
    pub trouble: Option<String>,
}

impl Machine {
    /// Where the console of a boot goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.log"))
    }

    /// Boots, runs the scenarios and waits for the end. `on_line` sees each verdict as it comes.
    ///
    /// # Errors
    /// QEMU cannot be started. What goes wrong later is part of the result.
    pub fn boot(
        &self,
        name: &str,
        options: &str,
        scenarios: &[&Scenario],
        on_line: &mut dyn FnMut(bool, &Verdict),
    ) -> Result<Boot, Failure> {
        let (log, results) = (self.log(name), self.work.join(format!("{name}.results")));
        fs::write(&results, "")?;
        let started = Instant::now();
        let mut child = Killed(self.qemu(&log, &results, options, scenarios)?);
        let mut lines = Lines::of(&results)?;
        let mut boot = Boot::default();
        let mut deadline = started + BOOT;
        let mut running: Option<String> = None;
        let mut done = false;
        loop {
            // First the end, then the lines: so that the last ones are read.
            let ended = child.0.try_wait()?.is_some();
            while let Some(line) = lines.next()? {
                match line {
                    Line::Ready => {
                        boot.ready = Some(started.elapsed());
                        deadline = Instant::now() + BETWEEN;
                    }
                    Line::Begin(name) => {
                        let limit = scenarios.iter().find(|scenario| scenario.name == name);
                        deadline = Instant::now() + limit.map_or(BETWEEN, |scenario| scenario.limit + BETWEEN);
                        running = Some(name);
                    }
                    Line::Pass(verdict) => boot.take(true, verdict, on_line),
                    Line::Fail(verdict) => boot.take(false, verdict, on_line),
                    Line::Done => {
                        done = true;
                        deadline = Instant::now() + OFF;
                    }
                }
            }
            if ended || Instant::now() > deadline {
                boot.took = started.elapsed();
                let end = if ended { "ended" } else { "hung" };
                boot.trouble = match (done, boot.ready, &running) {
                    (true, ..) => None,
                    (false, None, _) => Some(format!("the guest {end} before its first line")),
                    (false, _, Some(name)) => Some(format!("the guest {end} in or after {name}")),
                    (false, _, None) => Some(format!("the guest {end} before its first scenario")),
                };
                return Ok(boot);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn qemu(&self, log: &Path, results: &Path, options: &str, scenarios: &[&Scenario]) -> Result<Child, Failure> {
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
        // Never KVM: a device node that opens may still hang or abort (nested machines).
        let mut command = Command::new(find("qemu-system-x86_64").ok_or("QEMU is not installed")?);
        command
            .args([
                "-accel",
                "tcg,thread=multi",
                "-M",
                "q35",
                "-m",
                "256",
                "-smp",
                "1",
                "-no-reboot",
            ])
            .args(["-nodefaults", "-display", "none", "-monitor", "none"])
            .arg("-serial")
            .arg(format!("file:{}", escaped(log)))
            .arg("-serial")
            .arg(format!("file:{}", escaped(results)))
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=-1 mitigations=off {options} {COMMAND_LINE}{}",
                names.join(",")
            ));
        let complaints = File::create(self.work.join("qemu.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(complaints.try_clone()?)
            .stderr(complaints)
            .spawn()?;
        Ok(child)
    }

    /// The end of a boot's console, and what QEMU itself complained about.
    pub fn tail(&self, name: &str, lines: usize) -> String {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let (qemu, console) = (read(&self.work.join("qemu.log")), read(&self.log(name)));
        format!("{}{}", qemu, tail(&console, lines))
    }
}

impl Boot {
    fn take(&mut self, passed: bool, verdict: Verdict, on_line: &mut dyn FnMut(bool, &Verdict)) {
        on_line(passed, &verdict);
        self.verdicts.push((passed, verdict));
    }
}

/// Commas separate QEMU's options.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// Lines that are being written to a file.
struct Lines {
    file: File,
    read: u64,
    buffer: String,
}

impl Lines {
    fn of(path: &Path) -> Result<Self, Failure> {
        Ok(Self {
            file: File::open(path)?,
            read: 0,
            buffer: String::new(),
        })
    }

    /// The next whole line that says something.
    fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut fresh = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut fresh)?;
        self.read += fresh.len() as u64;
        self.buffer.push_str(&String::from_utf8_lossy(&fresh));
        while let Some((line, rest)) = self.buffer.split_once('\n') {
            let (line, rest) = (Line::decode(line), rest.to_owned());
            self.buffer = rest;
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }
}

/// A program that does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if command::wait(&mut self.0, Duration::ZERO).is_err() {
            let _ = self.0.kill();
        }
    }
}
