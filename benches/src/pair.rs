//! How long a whole sync of many contacts takes, and how much memory: `benches/sync.sh pair`.
//!
//! The virtual phone is a process of its own, served over a socket. Every measured session is one, too, so that a peak is
//! that of the session; what is kept between sessions is on the disk. Prints medians: wall time, our own processor time,
//! peak memory of our process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cabled_syncproto::engine::{Extent, FirstSync, Policy, Side};
use cabled_syncproto::pair::{Pair, Progress, Report, Request, Synced};
use cabled_syncproto::record::{Change, Changes, RecordId};
use cabled_syncproto::replica::{Device, Memory, OnThread, Replica, Vdir};
use cabled_syncproto::session::{SessionOptions, SyncLink};
use cabled_syncproto::store::{FileStore, format};
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::contents::{Recipe, fill_sync};
use cabled_virtualdevice::{Phone, service, sync};
use tokio::net::{UnixListener, UnixStream};

const CONTACTS: u64 = 50_000;
const ROUNDS: usize = 3;
/// Changes on each side before a fast sync.
const EDITS: usize = 5;

/// The sessions that are measured, one after the other: an empty computer; one in which the files that the first wrote are
/// looked at; changes while the device's software is new, so that it is read once more to see what it made of them; the
/// same afterwards, as on every later day.
const SESSIONS: [&str; 4] = ["first", "no change", "ten changes, read back", "ten changes"];

/// What the computer's side is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Folder,
}

impl Place {
    fn of(name: &str) -> Self {
        match name {
            "memory" => Self::Memory,
            "folder" => Self::Folder,
            other => panic!("{other} is no place"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Folder => "folder",
        }
    }
}

/// Serves a phone until its standard input ends; a line on that is an edit of so many contacts.
fn phone(socket: &Path) {
    let phone = Phone::builder().seed(7).empty().build().unwrap();
    fill_sync(phone.sync(), &Recipe::tiny().contacts(CONTACTS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async { UnixListener::bind(socket) }).unwrap();
    let serving = phone.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let phone = serving.clone();
            tokio::spawn(async move { service::dispatch(phone, sync::NAME, Box::new(stream), None).await });
        }
    });
    println!("{}", phone.sync().records(&DataClass::Contacts).len());
    let mut edits = 0;
    for line in std::io::stdin().lines() {
        let many: usize = line.unwrap().parse().unwrap();
        edits += 1;
        let records = phone.sync().records(&DataClass::Contacts);
        let people = records
            .iter()
            .filter(|(_, record)| record.entity.as_deref() == Some(entity::CONTACT));
        for (id, _) in people.skip(edits).step_by(997).take(many) {
            let name = format!("Edited {edits}");
            phone.sync().edit(&DataClass::Contacts, id, |record| {
                record.attributes.insert("first name".to_owned(), name.into());
            });
        }
        println!("done");
    }
}

/// The phone's process.
struct Served {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Served {
    fn start(socket: &Path) -> (Self, usize) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("phone")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut served = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        let records = served.line().parse().unwrap();
        (served, records)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn edit(&mut self, many: usize) {
        writeln!(self.stdin, "{many}").unwrap();
        assert_eq!(self.line(), "done");
    }

    fn stop(mut self) {
        drop(self.stdin);
        self.child.wait().unwrap();
    }
}

/// Changes so many cards as a person would, others each round.
fn edit_folder(folder: &Path, round: usize, many: usize) {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "vcf"));
    files.sort();
    for file in files.iter().skip(round).step_by(1_009).take(many) {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, text.replace("END:VCARD", "NICKNAME:Seen\r\nEND:VCARD")).unwrap();
    }
}

/// The same for records in memory, which wait in a file between sessions.
fn edit_memory(file: &Path, round: usize, many: usize) {
    let memory = read_memory(file);
    let people = memory.all().into_iter();
    let people = people.filter(|(_, record)| record.entity.as_deref() == Some(entity::CONTACT));
    for (id, mut record) in people.skip(round).step_by(1_009).take(many) {
        record.attributes.insert("nickname".to_owned(), "Seen".into());
        memory.put(id, record);
    }
    write_memory(&memory, file);
}

fn read_memory(file: &Path) -> Memory {
    let Ok(bytes) = std::fs::read(file) else {
        return Memory::default();
    };
    let (_, _, changes) = format::read_told(&bytes).unwrap();
    Memory::from_iter(changes.into_iter().filter_map(|(id, change)| match change {
        Change::Upsert(record) => Some((id, record)),
        Change::Delete => None,
    }))
}

fn write_memory(memory: &Memory, file: &Path) {
    let all = memory
        .all()
        .into_iter()
        .map(|(id, record): (RecordId, _)| (id, Change::Upsert(record)));
    let mut bytes = Vec::new();
    format::write_told(Side::Computer, Extent::Everything, &Changes::from_iter(all), &mut bytes).unwrap();
    std::fs::write(file, bytes).unwrap();
}

/// Processor time so far, of this process alone.
fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

/// The peak of this process, in MiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// One session, in a process of its own: prints wall time, processor time, peak and what was written to each side.
fn session(place: Place, root: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let kept = root.join("memory");
    match place {
        Place::Memory => {
            let memory = read_memory(&kept);
            runtime.block_on(run(memory.clone(), root));
            write_memory(&memory, &kept);
        }
        Place::Folder => runtime.block_on(run(OnThread::new(Vdir::contacts(root.join("people"))), root)),
    }
}

async fn run<R: Replica>(computer: R, root: &Path) {
    let (start, before) = (Instant::now(), spent());
    let stream = UnixStream::connect(root.join("socket")).await.unwrap();
    let link = SyncLink::connect(Box::new(stream), SessionOptions::default())
        .await
        .unwrap();
    let device = Device::new(link, DataClass::Contacts).with_build("18.1 (22B83)");
    let store = FileStore::open(root.join("state")).unwrap();
    let mut pair = Pair::new(DataClass::Contacts, device, computer, store);
    let request = Request::default().policy(Policy::default().first_sync(FirstSync::Merge));
    let verbose = std::env::var_os("STEPS").is_some();
    let mut observer = |progress: Progress<'_>| {
        if verbose {
            let what = match progress {
                Progress::Planned(_) => "planned".to_owned(),
                other => format!("{other:?}"),
            };
            let (wall, spent) = (start.elapsed().as_secs_f64(), (spent() - before).as_secs_f64());
            eprintln!("{wall:8.3} s, {spent:8.3} s of ours, peak {:4.0} MiB: {what}", peak());
        }
    };
    let synced = pair.sync(&request, &mut observer).await.unwrap();
    let (wall, own) = (start.elapsed(), spent() - before);
    let Synced::Done(report) = synced else {
        panic!("it stopped: {synced:?}")
    };
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let [device, computer] = [Side::Device, Side::Computer].map(|side| writes(&report, side));
    println!(
        "{} {} {:.1} {device} {computer}",
        wall.as_secs_f64(),
        own.as_secs_f64(),
        peak()
    );
}

fn writes(report: &Report, side: Side) -> usize {
    report.plan.actions.get(side).len()
}

/// Runs a session and gives what it printed.
fn measured(place: Place, root: &Path) -> Vec<f64> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["session", place.name()])
        .arg(root)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the session failed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|figure| figure.parse().unwrap()).collect()
}

fn median(figures: &[Vec<f64>], column: usize) -> f64 {
    let mut column: Vec<f64> = figures.iter().filter_map(|row| row.get(column).copied()).collect();
    column.sort_by(f64::total_cmp);
    column[column.len() / 2]
}

fn all(place: Place, rounds: usize) {
    let mut figures = SESSIONS.map(|_| Vec::new());
    let mut records = 0;
    // Kept until all is measured: some file systems are slow to make files where many were removed a moment before.
    let roots: Vec<_> = (0..rounds).map(|_| tempfile::tempdir().unwrap()).collect();
    for root in &roots {
        let root = root.path();
        std::fs::create_dir(root.join("people")).unwrap();
        let (mut phone, many) = Served::start(&root.join("socket"));
        records = many;
        for (number, figures) in figures.iter_mut().enumerate() {
            let edits = number > 1;
            if edits {
                phone.edit(EDITS);
                match place {
                    Place::Memory => edit_memory(&root.join("memory"), number, EDITS),
                    Place::Folder => edit_folder(&root.join("people"), number, EDITS),
                }
            }
            // Files that were written within the moment before a sync are read again by it; people sync later.
            std::thread::sleep(Duration::from_secs(5));
            let measured = measured(place, root);
            if edits {
                assert_eq!((measured[3] as usize, measured[4] as usize), (EDITS, EDITS));
            }
            figures.push(measured);
        }
        phone.stop();
    }
    for (name, figures) in SESSIONS.iter().zip(&figures) {
        println!(
            "| {}, {records} records: {name} | {:.2} s | {:.2} s | {:.0} MiB |",
            place.name(),
            median(figures, 0),
            median(figures, 1),
            median(figures, 2),
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["phone", socket] => phone(Path::new(socket)),
        ["session", place, root] => session(Place::of(place), Path::new(root)),
        [place @ ("memory" | "folder")] => all(Place::of(place), ROUNDS),
        [place @ ("memory" | "folder"), rounds] => all(Place::of(place), rounds.parse().unwrap()),
        _ => {
            eprintln!("bench_sync_pair memory | folder [rounds]");
            std::process::exit(2);
        }
    }
}
