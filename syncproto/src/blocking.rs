//! Something that blocks, worked from async code.

use tokio::task::spawn_blocking;

/// Something that blocks: each call runs on one of the runtime's threads for blocking work.
#[derive(Debug)]
pub(crate) struct Blocking<T> {
    /// `None` while a call runs, and for ever after one whose future was dropped.
    held: Option<T>,
}

/// It went with a call whose future was dropped, or that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an earlier call did not come back; begin anew")]
pub(crate) struct Lost;

impl<T: Send + 'static> Blocking<T> {
    pub(crate) const fn new(held: T) -> Self {
        Self { held: Some(held) }
    }

    /// Runs `work` to its end, even if the future is dropped; what is held is lost then.
    pub(crate) async fn run<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Lost> {
        let mut held = self.held.take().ok_or(Lost)?;
        let done = spawn_blocking(move || {
            let done = work(&mut held);
            (held, done)
        });
        let (held, done) = done.await.map_err(|_| Lost)?;
        self.held = Some(held);
        Ok(done)
    }

    pub(crate) fn into_inner(self) -> Option<T> {
        self.held
    }
}
