//! Pages for people to read: one file each, no script, nothing fetched from anywhere.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::html::{Cell, Page};
//!
//! let mut page = Page::begin(Vec::new(), "Calls")?;
//! page.table(&["Who", "When"])?;
//! page.row(&[Cell::Text("<script>alert(1)</script>"), Cell::Text("yesterday")])?;
//! let html = String::from_utf8(page.finish()?)?;
//! assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! A [`Page`] is written from top to bottom while records are read, so that its length does not matter: headings,
//! paragraphs, tables ([`Cell`]), and conversations ([`Bubble`]). Every text goes through one function that escapes it.
//! A content security policy inside the page forbids scripts, plugins, frames and anything that is not a file beside
//! it; the style sheet is part of the page and named there by its checksum, so that no other style counts.
//!
//! # Limits
//! Links lead to `http`, `https`, `mailto` and `tel` addresses or to files below the page's folder
//! ([`relative_href`]); anything else is shown as text. Text of either direction stays in its own frame. Control
//! characters are shown as U+FFFD.

mod bubble;
mod escape;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::base64;
use super::time::Timestamp;

pub use bubble::{Bubble, Piece, Side};
pub use escape::{escape, relative_href, web_href};

const STYLE: &str = include_str!("html/style.css");

/// A page that is being written.
#[derive(Debug)]
pub struct Page<W: Write> {
    out: W,
    open: Open,
}

/// What has to be closed before something else begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Table,
    Conversation,
}

impl Open {
    const fn end(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Table => "</tbody></table>\n",
            Self::Conversation => "</div>\n",
        }
    }
}

/// One cell of a table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// Text; line ends are kept.
    Text(&'a str),
    /// A time in UTC, to the minute; the whole of it on hovering.
    Time(Option<Timestamp>),
    /// A link to a web address or to a file below the page (from [`relative_href`]); what is neither shows as text.
    Link {
        /// Where to.
        href: &'a str,
        /// What to show.
        text: &'a str,
    },
    /// A picture below the page (from [`relative_href`]).
    Image {
        /// Where it lies.
        href: &'a str,
        /// What to show without it.
        text: &'a str,
    },
}

impl<W: Write> Page<W> {
    /// Writes the head of a page, and its title as the first heading. `out` gets small pieces: give it a buffered one.
    ///
    /// # Errors
    /// Whatever `out` gives; as all the methods.
    pub fn begin(mut out: W, title: &str) -> io::Result<Self> {
        let checksum = base64::encode(&Sha256::digest(STYLE.as_bytes()));
        let title = escape(title);
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{checksum}'; \
             img-src 'self' file:; media-src 'self' file:; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1 dir=\"auto\">{title}</h1>\n"
        )?;
        Ok(Self {
            out,
            open: Open::Nothing,
        })
    }

    fn enter(&mut self, next: Open) -> io::Result<()> {
        if self.open != next {
            self.out.write_all(self.open.end().as_bytes())?;
            if next == Open::Conversation {
                self.out.write_all(b"<div class=\"conversation\">\n")?;
            }
            self.open = next;
        }
        Ok(())
    }

    /// A heading within the page.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.enter(Open::Nothing)?;
        writeln!(self.out, "<h2 dir=\"auto\">{}</h2>", escape(text))
    }

    /// A paragraph; line ends are kept.
    pub fn paragraph(&mut self, text: &str) -> io::Result<()> {
        self.enter(Open::Nothing)?;
        writeln!(self.out, "<p dir=\"auto\">{}</p>", escape(text))
    }

    /// A row of links, such as to the pages before and after. As for [`Cell::Link`].
    pub fn links(&mut self, links: &[(&str, &str)]) -> io::Result<()> {
        self.enter(Open::Nothing)?;
        self.out.write_all(b"<nav>")?;
        for (href, text) in links {
            self.cell(&Cell::Link { href, text })?;
            self.out.write_all(b" ")?;
        }
        self.out.write_all(b"</nav>\n")
    }

    /// Begins a table with these column names.
    pub fn table(&mut self, columns: &[&str]) -> io::Result<()> {
        self.enter(Open::Nothing)?;
        self.out.write_all(b"<table><thead><tr>")?;
        for column in columns {
            write!(self.out, "<th>{}</th>", escape(column))?;
        }
        self.out.write_all(b"</tr></thead><tbody>\n")?;
        self.open = Open::Table;
        Ok(())
    }

    /// A row of the table begun last. Without one, a table without column names begins.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        if self.open != Open::Table {
            self.table(&[])?;
        }
        self.out.write_all(b"<tr>")?;
        for cell in cells {
            self.out.write_all(b"<td dir=\"auto\">")?;
            self.cell(cell)?;
            self.out.write_all(b"</td>")?;
        }
        self.out.write_all(b"</tr>\n")
    }

    fn cell(&mut self, cell: &Cell<'_>) -> io::Result<()> {
        match cell {
            Cell::Text(text) => write!(self.out, "{}", escape(text)),
            Cell::Time(None) => Ok(()),
            Cell::Time(Some(time)) => self.time(*time),
            Cell::Link { href, text } => match href_of(href) {
                Some(href) => write!(
                    self.out,
                    "<a href=\"{}\" rel=\"noreferrer\">{}</a>",
                    escape(href),
                    escape(text)
                ),
                None => write!(self.out, "{}", escape(text)),
            },
            Cell::Image { href, text } => match escape::is_relative(href) {
                true => write!(
                    self.out,
                    "<img src=\"{}\" alt=\"{}\" loading=\"lazy\">",
                    escape(href),
                    escape(text)
                ),
                false => write!(self.out, "{}", escape(text)),
            },
        }
    }

    fn time(&mut self, time: Timestamp) -> io::Result<()> {
        write!(
            self.out,
            "<time datetime=\"{time}\" title=\"{time}\">{}</time>",
            time.minute()
        )
    }

    /// A line between messages, such as a date or what happened to the group.
    pub fn divider(&mut self, text: &str) -> io::Result<()> {
        self.enter(Open::Conversation)?;
        writeln!(self.out, "<div class=\"divider\" dir=\"auto\">{}</div>", escape(text))
    }

    /// One message of a conversation.
    pub fn bubble(&mut self, bubble: &Bubble<'_>) -> io::Result<()> {
        self.enter(Open::Conversation)?;
        bubble.write(self)
    }

    /// Ends the page, flushes, and hands the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.enter(Open::Nothing)?;
        self.out.write_all(b"</body>\n</html>\n")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Where a link may lead: to a web address or below the page.
fn href_of(href: &str) -> Option<&str> {
    (escape::is_relative(href) || web_href(href).is_some()).then_some(href)
}

#[cfg(test)]
mod tests;
