//! A replica on a disk, worked on a thread that may block.

use super::{BlockingReplica, Committed, OpenRequest, Opened, Replica, ReplicaError, Told};
use crate::blocking::Blocking;
use crate::engine::{Batch, Capabilities, EngineId, Outcome};

/// A [`BlockingReplica`] as a [`Replica`]: each call runs on one of the runtime's threads for blocking work.
///
/// Dropping a future does not stop the call; the replica is lost with it, and nothing that was not committed is visible.
#[derive(Debug)]
pub struct OnThread<R> {
    capabilities: Capabilities,
    replica: Blocking<R>,
}

impl<R: BlockingReplica> OnThread<R> {
    /// Takes the replica.
    #[must_use]
    pub fn new(replica: R) -> Self {
        Self {
            capabilities: replica.capabilities(),
            replica: Blocking::new(replica),
        }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut R) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        self.replica
            .run(work)
            .await
            .map_err(|lost| ReplicaError::Broken(lost.into()))?
    }
}

impl<R: BlockingReplica> Replica for OnThread<R> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        let (token, doubtful) = (request.token.map(str::to_owned), request.doubtful.map(str::to_owned));
        let (session, full) = (request.session, request.full);
        self.run(move |replica| {
            let request = OpenRequest::new(session).token(token.as_deref());
            replica.open(request.doubtful(doubtful.as_deref()).full(full))
        })
        .await
    }

    async fn read(&mut self) -> Result<Told, ReplicaError> {
        self.run(R::read).await
    }

    async fn clear(&mut self) -> Result<(), ReplicaError> {
        Err(ReplicaError::OutOfTurn { call: "clear" })
    }

    async fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.run(move |replica| replica.write(batch)).await
    }

    async fn commit(&mut self) -> Result<Committed, ReplicaError> {
        self.run(R::commit).await
    }

    async fn abort(&mut self, _reason: &str) -> Result<(), ReplicaError> {
        self.run(|replica| {
            replica.abort();
            Ok(())
        })
        .await
    }
}
