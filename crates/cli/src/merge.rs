//! `taskvec merge`: the shares of a job to one file.

use crate::arguments::MergeArguments;
use crate::outcome::Outcome;

pub(crate) fn run(arguments: &MergeArguments) -> Outcome {
    let rows = taskvec_corpus::merge(&arguments.folders, &arguments.output)?;
    eprintln!("taskvec: {rows} rows in {}", arguments.output.display());
    Ok(())
}
