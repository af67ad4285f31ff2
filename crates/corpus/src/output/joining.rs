//! A file that parts are added to, one after the other.

use super::format::Format;
use super::heading::Heading;
use super::whole::{Problem, problem_of};
use super::{arrow, parquet};
use crate::error::{CorpusError, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file that parts are added to, while those behind them are computed: joining them takes no time at the end.
pub(crate) struct Joining {
    file: File,
    path: PathBuf,
    format: Writer,
}

/// What adds a part, by the format.
enum Writer {
    Parquet(parquet::Joining),
    Arrow(arrow::Joining),
    Lines(File),
}

impl Joining {
    /// Begins a file at a path. The formats that are joined so are those whose head does not say the number of rows.
    pub(crate) fn create(path: &Path, heading: &Heading) -> Result<Joining> {
        let file = File::create(path).map_err(CorpusError::write(path))?;
        Joining::of(&file, path, heading)
    }

    /// Writes into an empty file.
    pub(super) fn of(file: &File, path: &Path, heading: &Heading) -> Result<Joining> {
        let copy = || file.try_clone().map_err(CorpusError::write(path));
        let format = match heading.format {
            Format::Parquet => Writer::Parquet(parquet::Joining::new(copy()?, heading.clone())),
            Format::Arrow => Writer::Arrow(arrow::Joining::new(copy()?)),
            _ => Writer::Lines(copy()?),
        };
        Ok(Joining { file: copy()?, path: path.to_owned(), format })
    }

    /// Adds the rows of a part.
    pub(crate) fn add(&mut self, part: &Path) -> Result<()> {
        let added = match &mut self.format {
            Writer::Parquet(writer) => writer.add(part),
            Writer::Arrow(writer) => writer.add(part),
            Writer::Lines(file) => copy(part, file),
        };
        added.map_err(|problem| problem_of(&self.path, problem))
    }

    /// Ends the file, and waits until it is on the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let Joining { file, path, format } = self;
        let ended = match format {
            Writer::Parquet(writer) => writer.finish(),
            Writer::Arrow(writer) => writer.finish(),
            Writer::Lines(_) => Ok(()),
        };
        ended.map_err(|problem| problem_of(&path, problem))?;
        file.sync_all().map_err(CorpusError::write(&path))
    }

    /// Ends the file, and gives it the name that it is known by.
    pub(crate) fn finish_as(self, to: &Path) -> Result<()> {
        let path = self.path.clone();
        self.finish()?;
        std::fs::rename(&path, to).map_err(CorpusError::write(to))
    }
}

/// Adds the bytes of a part.
pub(super) fn copy(part: &Path, to: &mut File) -> Result<(), Problem> {
    std::io::copy(&mut super::whole::open_part(part)?, to)?;
    Ok(())
}
