//! What a script does beside the run (spec mobilebackup2 19, item 6).

use cabled_devicelink::msg::{Message, Naming, Status as Answer};
use cabled_wire::plist::Dictionary;
use tokio::task::spawn_blocking;

use super::super::error::{LocalError, Outcome};
use super::super::script::{self, PathMessage, Torture};
use super::Run;
use super::payload::{PIPELINE, Source, send_own};

impl Run<'_> {
    /// Before anything of the run: messages that need nothing on the host.
    pub(super) async fn torture_early(&mut self) -> Outcome<()> {
        let target = self.session.target.clone();
        for step in self.script.steps().to_vec() {
            let answer = match &step {
                Torture::EmptyDownload => {
                    let mut transfer = self.session.link.download(Vec::new(), 0.0).await?;
                    while self.session.link.piece(&mut transfer).await?.is_some() {}
                    self.session.link.status("the answer to an empty download").await?
                }
                Torture::UnknownMessage(name) => {
                    let message = Message::Unknown {
                        name: name.clone(),
                        elements: vec![1.into(), "two".into()],
                    };
                    self.ask(&message).await?
                }
                Torture::Purge { amount, urgency } => {
                    self.ask(&Message::PurgeDiskSpace {
                        amount: *amount,
                        urgency: *urgency,
                    })
                    .await?
                }
                Torture::ListMissing => {
                    let path = format!("{target}/Snapshot/no such directory");
                    self.ask(&Message::ContentsOfDirectory {
                        path,
                        options: Dictionary::new(),
                    })
                    .await?
                }
                Torture::RemoveMissing => {
                    let paths = vec![format!("{target}/Manifest.mbdx"), format!("{target}/no/such/file")];
                    self.ask(&self.removal(paths)).await?
                }
                _ => continue,
            };
            self.session.state.add_answer(script::Answer { step, status: answer });
        }
        Ok(())
    }

    /// While `Snapshot` is full: paths that must not reach the host's file system.
    pub(super) async fn torture_late(&mut self) -> Outcome<()> {
        for step in self.script.steps().to_vec() {
            if let Torture::HostilePath { message, path } = &step {
                let status = self.hostile(*message, path).await?;
                self.session.state.add_answer(script::Answer { step, status });
            }
        }
        Ok(())
    }

    async fn ask(&mut self, message: &Message) -> Outcome<Answer> {
        Ok(self.session.link.ask(message, "the answer to a script").await?)
    }

    fn removal(&self, paths: Vec<String>) -> Message {
        Message::RemoveItems {
            paths,
            options: Dictionary::new(),
            progress: Some(0.0),
            naming: self.naming(),
        }
    }

    async fn hostile(&mut self, message: PathMessage, path: &str) -> Outcome<Answer> {
        let (options, progress, path) = (Dictionary::new(), Some(0.0), path.to_owned());
        // The other end of a move or copy is harmless: a file of this run, and a name nobody uses.
        let harmless = format!("{}/Snapshot/script", self.session.target);
        let moves = |from: String, to: String| Message::MoveItems {
            items: vec![(from, to)],
            options: Dictionary::new(),
            progress,
            naming: Naming::Items,
        };
        let message = match message {
            PathMessage::Download => {
                let mut transfer = self.session.link.download(vec![path], 0.0).await?;
                while self.session.link.piece(&mut transfer).await?.is_some() {}
                return Ok(self.session.link.status("the answer to a script").await?);
            }
            PathMessage::Upload => return self.hostile_upload(path).await,
            PathMessage::List => Message::ContentsOfDirectory { path, options },
            PathMessage::Create => Message::CreateDirectory {
                path,
                options,
                progress,
            },
            PathMessage::MoveFrom => moves(path, harmless),
            PathMessage::MoveTo => {
                self.own_file(&harmless).await?;
                moves(harmless, path)
            }
            PathMessage::Remove => self.removal(vec![path]),
            PathMessage::CopyFrom => Message::CopyItem {
                from: path,
                to: harmless,
                progress,
            },
            PathMessage::CopyTo => {
                self.own_file(&harmless).await?;
                Message::CopyItem {
                    from: harmless,
                    to: path,
                    progress,
                }
            }
        };
        self.ask(&message).await
    }

    async fn own_file(&mut self, path: &str) -> Outcome<()> {
        let source = Source::Bytes(b"a file of the script".to_vec());
        self.upload_own(vec![("/var/tmp/script".to_owned(), path.to_owned(), source)], 0.0)
            .await
            .map(|_| ())
    }

    async fn hostile_upload(&mut self, path: String) -> Outcome<Answer> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(PIPELINE);
        let block = self.session.profile().upload_block;
        let file = (
            "/var/tmp/script".to_owned(),
            path,
            Source::Bytes(b"out of the cage".to_vec()),
        );
        let work = spawn_blocking(move || send_own(vec![file], sender, block));
        let answer = self.session.link.upload(0.0, 0, &mut receiver).await?;
        let (_, answer) = super::whole(work.await.unwrap_or(Err(LocalError::Abandoned)), answer)?;
        Ok(answer)
    }
}
