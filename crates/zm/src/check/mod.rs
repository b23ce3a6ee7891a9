//! `zm check`: a run held against limits, or against an earlier run.

pub mod arguments;
mod figures;
mod gate;
mod verdict;

use crate::backend::Backend;
use crate::collect::Collector;
use crate::error::{EXIT_OVER_LIMIT, Error};
use crate::export::{Destination, Outputs, json};
use crate::inspect::{Inspection, Reason};
use crate::report::text::{self, Style};
use crate::report::{Report, short_name};
use crate::run::inherited::Inherited;
use crate::run::{self, Job, Observed, Outcome};
use arguments::{Check, Format};
use figures::Figures;
use std::io::{self, IsTerminal, Write};
use verdict::Verdict;

/// Runs the program, and answers with its end; with [`EXIT_OVER_LIMIT`] if that is good but a limit was not kept.
pub fn check(arguments: &Check, inherited: &Inherited) -> Result<Outcome, Error> {
    let backend = Backend::find(&arguments.backend).map_err(Error::Backend)?;
    let baseline = arguments.baseline.as_deref().map(Figures::read).transpose()?;
    let told = arguments.output.as_deref().map(Destination::open).transpose()?;
    let exports = Outputs::open([(arguments.export_json.as_deref(), json as fn(&Report) -> Vec<u8>)])?;
    if let Some(inspection) = Inspection::of(&arguments.program[0]) {
        can_be_counted(&inspection)?;
    }
    let job = Job::counted(&arguments.program, &backend);
    let Observed { report, ended } =
        run::observe(&job, inherited, &mut |_, collector: &mut Collector| collector.tick())?;
    exports.write(&report)?;
    if ended.outcome == Outcome::Code(0)
        && let Some(why) = report.program_not_counted()
    {
        return Err(Error::Unfit(format!("nothing was checked: {why}")));
    }

    let verdict = Verdict {
        program: report.command.first().map_or("", |program| short_name(program)).to_owned(),
        end: text::end(&report),
        ended_well: ended.outcome == Outcome::Code(0),
        wall_seconds: report.wall_seconds,
        gates: gate::gates(arguments, &Figures::of(&report), baseline.as_ref()),
        not_counted: report.not_counted.iter().map(|entry| entry.text.clone()).collect(),
    };
    tell(&verdict, arguments.format, told)?;
    Ok(match ended.outcome {
        Outcome::Code(0) if !verdict.holds() => Outcome::Code(EXIT_OVER_LIMIT),
        outcome => outcome,
    })
}

/// A gate that sees nothing would hold always: better none.
fn can_be_counted(inspection: &Inspection) -> Result<(), Error> {
    let why = inspection.reasons.iter().find(|reason| **reason != Reason::Go);
    why.map_or(Ok(()), |why| {
        Err(Error::Unfit(format!("nothing can be checked: {} {}", inspection.file.display(), why.explanation())))
    })
}

fn tell(verdict: &Verdict, format: Format, told: Option<Destination>) -> Result<(), Error> {
    let plain = Style { colored: false };
    let to_errors = |text: String| {
        // Nobody may be there to read it; the exit status tells all the same.
        let _ = io::stderr().write_all(text.as_bytes());
    };
    let text = || verdict.text(Style::for_terminal(io::stderr().is_terminal()));
    match (format, told) {
        (Format::Text, None) => to_errors(text()),
        (Format::Text, Some(file)) => file.write(verdict.text(plain).as_bytes())?,
        (Format::Github, None) => to_errors(text() + &verdict.github()),
        (Format::Github, Some(file)) => file.write(verdict.github().as_bytes())?,
        (Format::Junit, file) => {
            to_errors(text());
            file.map_or(Ok(()), |file| file.write(&verdict.junit()))?;
        }
    }
    Ok(())
}
