//! The commands that tell of the tool itself: its manual, its completions, its version.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What `tcpwait manual --help` ends with.
pub const HELP: &str = "\
Examples:
  tcpwait manual                         the page of the program
  tcpwait manual stat | less             what stat does, all its options
  tcpwait manual metrics                 every metric of tcpwait export
  tcpwait manual stat --roff | man -l -  by man(1)
  tcpwait manual --output /usr/local/share/man
                                         every page, for man(1) to find";

/// `tcpwait manual`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// Page to print: a command, json or metrics; without it, the one of the program
    #[arg(value_name = "PAGE", conflicts_with = "output")]
    pub page: Option<String>,
    /// As man(1) reads it, instead of as text
    #[arg(long, conflicts_with = "output")]
    pub roff: bool,
    /// Write every page into the folders man1 and man7 of this one, which are made where they are missing
    #[arg(short = 'o', long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// What `tcpwait completions --help` ends with.
pub const COMPLETIONS_HELP: &str = "\
The shell then asks tcpwait itself what may come next: states, reasons, groups,
processes, and the network namespaces of this machine. The script calls tcpwait
by name; where it is called by a path here, by that path.

Examples:
  source <(tcpwait completions bash)     in this shell, or in ~/.bashrc
  source <(tcpwait completions zsh)      the same, in ~/.zshrc after compinit
  tcpwait completions fish | source      the same, in config.fish";

/// `tcpwait completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to print the script for
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell that completes commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash 4.4 or later
    Bash,
    /// zsh, after compinit
    Zsh,
    /// fish 3 or later
    Fish,
}

impl Shell {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }
}

/// `tcpwait version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// What it was built from, and what this kernel gives; without root, what can be known of that
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// JSON: one object, with all of that
    #[arg(long)]
    pub json: bool,
}
