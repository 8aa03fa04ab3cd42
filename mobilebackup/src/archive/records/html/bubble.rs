//! One message of a conversation, as a page shows it.

use std::io::{self, Write};

use super::{Cell, Page, escape, href_of};
use crate::archive::records::time::Timestamp;

/// Whose message it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// Somebody else's: on the left.
    #[default]
    Other,
    /// The owner's of the phone: on the right.
    Own,
}

/// A part of a message, in the order of reading.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Piece<'a> {
    /// Text; line ends are kept.
    Text(&'a str),
    /// What the message answers, shown as a quotation.
    Quote(&'a str),
    /// A picture below the page (from [`relative_href`](super::relative_href)).
    Image {
        /// Where it lies.
        href: &'a str,
        /// What to show without it.
        text: &'a str,
    },
    /// A film or sound below the page.
    Media {
        /// Where it lies.
        href: &'a str,
        /// What to show without it.
        text: &'a str,
    },
    /// Another file: a link if it is there, else its name.
    File {
        /// Where it lies, if it is there.
        href: Option<&'a str>,
        /// Its name, and what else there is to say.
        text: &'a str,
    },
    /// Something small below the message: reactions, edits, when it was read.
    Small(&'a str),
}

/// One message: who, when, and its parts.
#[derive(Clone, Debug, Default)]
pub struct Bubble<'a> {
    side: Side,
    author: Option<&'a str>,
    time: Option<Timestamp>,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Bubble<'a> {
    /// An empty message of that side.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            ..Self::default()
        }
    }

    /// Who wrote it. Default: not said.
    #[must_use]
    pub const fn author(mut self, name: &'a str) -> Self {
        self.author = Some(name);
        self
    }

    /// When. Default: not said.
    #[must_use]
    pub const fn time(mut self, time: Option<Timestamp>) -> Self {
        self.time = time;
        self
    }

    /// Adds a part.
    #[must_use]
    pub fn piece(mut self, piece: Piece<'a>) -> Self {
        self.pieces.push(piece);
        self
    }

    pub(super) fn write<W: Write>(&self, page: &mut Page<W>) -> io::Result<()> {
        let class = match self.side {
            Side::Other => "message",
            Side::Own => "message own",
        };
        write!(page.out, "<div class=\"{class}\">")?;
        if let Some(author) = self.author {
            write!(page.out, "<div class=\"author\" dir=\"auto\">{}</div>", escape(author))?;
        }
        for piece in &self.pieces {
            write_piece(page, piece)?;
        }
        if let Some(time) = self.time {
            page.out.write_all(b"<div class=\"small\">")?;
            page.time(time)?;
            page.out.write_all(b"</div>")?;
        }
        page.out.write_all(b"</div>\n")
    }
}

fn write_piece<W: Write>(page: &mut Page<W>, piece: &Piece<'_>) -> io::Result<()> {
    match piece {
        Piece::Text(text) => write!(page.out, "<div class=\"text\" dir=\"auto\">{}</div>", escape(text)),
        Piece::Quote(text) => write!(page.out, "<div class=\"quote\" dir=\"auto\">{}</div>", escape(text)),
        Piece::Small(text) => write!(page.out, "<div class=\"small\" dir=\"auto\">{}</div>", escape(text)),
        Piece::Image { href, text } => {
            // The picture leads to itself at full size.
            if let Some(href) = href_of(href) {
                write!(page.out, "<a href=\"{}\">", escape(href))?;
                page.cell(&Cell::Image { href, text })?;
                page.out.write_all(b"</a>")
            } else {
                page.cell(&Cell::Text(text))
            }
        }
        Piece::Media { href, text } => match super::escape::is_relative(href) {
            true => write!(
                page.out,
                "<video controls preload=\"none\" src=\"{}\"></video><div class=\"small\" dir=\"auto\">{}</div>",
                escape(href),
                escape(text)
            ),
            false => page.cell(&Cell::Text(text)),
        },
        Piece::File { href, text } => {
            page.out.write_all(b"<div>\xf0\x9f\x93\x8e ")?;
            match href {
                Some(href) => page.cell(&Cell::Link { href, text })?,
                None => page.cell(&Cell::Text(text))?,
            }
            page.out.write_all(b"</div>")
        }
    }
}
