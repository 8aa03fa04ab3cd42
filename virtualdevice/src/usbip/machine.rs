//! The requests of one host: taken off its stream, held while the device is not ready, answered in order.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};

use super::UsbipError;
use super::msg::{Command, HEADER, Submit, Way, return_submit, return_unlink, status};
use crate::usb::{BulkIn, BulkOutcome, ControlOutcome, Setup, UsbPhone};

/// Requests that may wait at one time.
const MAX_WAITING: usize = 1024;
/// Bytes of OUT transfers that may wait at one time; Linux lets its programs have 16 MiB in all.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// The largest OUT transfer that is taken; a longer one is read over and refused.
const MAX_TRANSFER: usize = 1 << 20;

/// An endpoint's queue: its number and direction; endpoint 0 has one queue for both.
type Endpoint = (u8, bool);

#[derive(Debug)]
struct Waiting {
    submit: Submit,
    data: Bytes,
    /// The bytes are taken, the zero-length packet is not.
    ending: bool,
}

/// A transfer too long to take, whose bytes have to be read over.
#[derive(Debug)]
struct Skipping {
    submit: Submit,
    left: usize,
}

/// One host's side of the conversation; holds no stream.
///
/// After [`Machine::handle_input`], call [`Machine::poll_device`]; both append answers to what is to be sent, as long as
/// that is less than [`MAX_OUT`](Self::MAX_OUT).
#[derive(Debug, Default)]
pub(super) struct Machine {
    queues: BTreeMap<Endpoint, VecDeque<Waiting>>,
    waiting: usize,
    waiting_bytes: usize,
    skipping: Option<Skipping>,
}

impl Machine {
    /// Bytes of answers that are gathered before the host has to read some; one more answer may come on top.
    pub(super) const MAX_OUT: usize = 512 << 10;

    /// Takes complete commands off what arrived; the rest stays for the next call. Each is tried on the device before the
    /// next is looked at, so that it does not matter in how many pieces they came.
    pub(super) fn handle_input(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        phone: &mut UsbPhone,
        out: &mut BytesMut,
    ) -> Result<(), UsbipError> {
        loop {
            if let Some(skipping) = &mut self.skipping {
                let gone = skipping.left.min(input.len());
                input.advance(gone);
                skipping.left = skipping.left.saturating_sub(gone);
                if skipping.left > 0 {
                    return Ok(());
                }
                return_submit(out, &skipping.submit, status::TOO_LONG, 0, &[]);
                self.skipping = None;
            }
            let Some(header) = input.get(..HEADER) else {
                return Ok(());
            };
            match Command::decode(header)? {
                Command::Unlink { sequence, victim } => {
                    input.advance(HEADER);
                    self.unlink(sequence, victim, phone, out);
                }
                Command::Submit(submit) => {
                    let len = match submit.way {
                        Way::Out => usize::try_from(submit.length).unwrap_or(usize::MAX),
                        Way::In => 0,
                    };
                    if len > MAX_TRANSFER {
                        input.advance(HEADER);
                        self.skipping = Some(Skipping { submit, left: len });
                        continue;
                    }
                    if input.len() < HEADER.saturating_add(len) {
                        input.reserve(len);
                        return Ok(());
                    }
                    input.advance(HEADER);
                    let data = input.split_to(len).freeze();
                    self.enqueue(submit, data)?;
                    self.poll_device(cx, phone, out);
                }
            }
        }
    }

    fn enqueue(&mut self, submit: Submit, data: Bytes) -> Result<(), UsbipError> {
        self.waiting = self.waiting.saturating_add(1);
        self.waiting_bytes = self.waiting_bytes.saturating_add(data.len());
        if self.waiting > MAX_WAITING || self.waiting_bytes > MAX_WAITING_BYTES {
            return Err(UsbipError::TooManyRequests {
                requests: self.waiting,
                bytes: self.waiting_bytes,
            });
        }
        let key = (submit.endpoint, submit.endpoint != 0 && submit.way == Way::In);
        self.queues.entry(key).or_default().push_back(Waiting {
            submit,
            data,
            ending: false,
        });
        Ok(())
    }

    /// A request that waits is gone without an answer of its own; one that was answered stays answered.
    fn unlink(&mut self, sequence: u32, victim: u32, phone: &mut UsbPhone, out: &mut BytesMut) {
        let mut status = status::OK;
        for ((endpoint, to_host), queue) in &mut self.queues {
            let Some(at) = queue.iter().position(|waiting| waiting.submit.sequence == victim) else {
                continue;
            };
            // Only the first of a queue can hold a part of a message.
            if at == 0 && *to_host {
                phone.cancel_bulk_in(*endpoint | 0x80);
            }
            if let Some(removed) = queue.remove(at) {
                self.waiting = self.waiting.saturating_sub(1);
                self.waiting_bytes = self.waiting_bytes.saturating_sub(removed.data.len());
            }
            status = status::UNLINKED;
            break;
        }
        return_unlink(out, sequence, status);
    }

    /// Lets the device work on what waits, until it is not ready for any of it.
    pub(super) fn poll_device(&mut self, cx: &mut Context<'_>, phone: &mut UsbPhone, out: &mut BytesMut) {
        // A control request may set free what waits elsewhere, so it goes round until nothing moves.
        let mut moved = true;
        while moved && out.len() < Self::MAX_OUT {
            moved = false;
            for queue in self.queues.values_mut() {
                while out.len() < Self::MAX_OUT
                    && let Some(first) = queue.front_mut()
                {
                    if serve(first, cx, phone, out).is_pending() {
                        break;
                    }
                    moved = true;
                    self.waiting = self.waiting.saturating_sub(1);
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(first.data.len());
                    queue.pop_front();
                }
            }
        }
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

/// One request; ready when its answer is written.
fn serve(waiting: &mut Waiting, cx: &mut Context<'_>, phone: &mut UsbPhone, out: &mut BytesMut) -> Poll<()> {
    let submit = waiting.submit;
    let (status, taken, data) = match (submit.endpoint, submit.way) {
        (0, way) => {
            let setup = Setup::from_bytes(submit.setup);
            let Poll::Ready(outcome) = phone.poll_control(cx, setup, &waiting.data) else {
                return Poll::Pending;
            };
            match outcome {
                ControlOutcome::Data(_) if way == Way::Out => (status::PROTOCOL, 0, Bytes::new()),
                ControlOutcome::Data(data) => {
                    let room = usize::try_from(submit.length).unwrap_or(usize::MAX);
                    (status::OK, 0, data.slice(..room.min(data.len())))
                }
                ControlOutcome::Done => (status::OK, waiting.data.len(), Bytes::new()),
                ControlOutcome::Stall => (status::STALL, 0, Bytes::new()),
                ControlOutcome::Gone => (status::GONE, 0, Bytes::new()),
            }
        }
        (endpoint, Way::Out) => match poll_out(waiting, cx, phone, endpoint) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready((status, taken)) => (status, taken, Bytes::new()),
        },
        (endpoint, Way::In) => {
            let room = usize::try_from(submit.length).unwrap_or(usize::MAX);
            let Poll::Ready(outcome) = phone.poll_bulk_in(cx, endpoint | 0x80, room) else {
                return Poll::Pending;
            };
            match outcome {
                BulkIn::Data(data) => (status::OK, 0, data),
                BulkIn::Stall => (status::STALL, 0, Bytes::new()),
                BulkIn::Overflow => (status::OVERFLOW, 0, Bytes::new()),
                BulkIn::NoEndpoint => (status::PROTOCOL, 0, Bytes::new()),
                BulkIn::Gone => (status::GONE, 0, Bytes::new()),
            }
        }
    };
    return_submit(out, &submit, status, taken, &data);
    Poll::Ready(())
}

/// An OUT transfer, and the zero-length packet behind it where the host wants one.
fn poll_out(waiting: &mut Waiting, cx: &mut Context<'_>, phone: &mut UsbPhone, endpoint: u8) -> Poll<(i32, usize)> {
    let whole = waiting.data.len();
    if !waiting.ending {
        let outcome = std::task::ready!(phone.poll_bulk_out(cx, endpoint, &waiting.data));
        let packet = usize::from(phone.options().speed.bulk_packet());
        let needs_end = waiting.submit.wants_zero_packet() && whole > 0 && whole.checked_rem(packet) == Some(0);
        match outcome {
            BulkOutcome::Taken(taken) if taken == whole && needs_end => waiting.ending = true,
            BulkOutcome::Taken(taken) => return Poll::Ready((status::OK, taken)),
            other => return Poll::Ready((status_of(other), 0)),
        }
    }
    let outcome = std::task::ready!(phone.poll_bulk_out(cx, endpoint, &Bytes::new()));
    Poll::Ready(match outcome {
        BulkOutcome::Taken(_) => (status::OK, whole),
        other => (status_of(other), whole),
    })
}

fn status_of(outcome: BulkOutcome) -> i32 {
    match outcome {
        BulkOutcome::Taken(_) => status::OK,
        BulkOutcome::Stall => status::STALL,
        BulkOutcome::NoEndpoint => status::PROTOCOL,
        BulkOutcome::Gone => status::GONE,
    }
}
