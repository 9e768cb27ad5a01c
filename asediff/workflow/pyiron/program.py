"""`python -m asediff.workflow.pyiron.program FOLDER NUMBER`: run a saved job, after whoever runs it already."""

from __future__ import annotations

import sys
from pathlib import Path

from asediff.workflow.pyiron.locks import own

if __name__ == "__main__":
    folder, number = sys.argv[1:]
    # pyiron reads the file of the job before it runs it: nobody may be writing it then
    with own(Path(folder).parent, print):
        from pyiron_base.jobs.job.wrapper import job_wrapper_function

        job_wrapper_function(working_directory=folder, job_id=int(number))
