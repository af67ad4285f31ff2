//! Files that appear at once.

use crate::error::{CorpusError, Result};
use std::fs::File;
use std::path::Path;

/// What went wrong in a writer, in its own words.
pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Writes a file that appears at once.
pub(crate) fn whole(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Problem>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".taskvec-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask
    }
    let mut file = builder.tempfile_in(folder).map_err(CorpusError::write(path))?;
    write(file.as_file_mut()).map_err(|problem| problem_of(path, problem))?;
    file.as_file().sync_all().map_err(CorpusError::write(path))?;
    file.persist(path).map_err(|e| CorpusError::write(path)(e.error))?;
    Ok(())
}

/// What went wrong when a file was written.
pub(super) fn problem_of(path: &Path, problem: Problem) -> CorpusError {
    match problem.downcast::<std::io::Error>() {
        Ok(e) => CorpusError::write(path)(*e),
        Err(e) => match e.downcast::<CorpusError>() {
            Ok(e) => *e,
            Err(e) => CorpusError::file(path, format!("cannot write: {e}")),
        },
    }
}

/// Opens a part that is to be joined.
pub(super) fn open_part(path: &Path) -> Result<File, Problem> {
    Ok(File::open(path).map_err(CorpusError::read(path))?)
}
