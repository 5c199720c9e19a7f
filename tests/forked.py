"""One rank of ``sslm`` or of a script, in a process that has imported what is slow.

``ARGV``, the whole ``ENVIRONMENT`` and the files for what it says, ``OUT`` and ``ERR``, are given as globals.
"""

import os
import runpy
import sys
from pathlib import Path

given = globals()
os.environ.clear()
os.environ.update(given["ENVIRONMENT"])
sys.argv = given["ARGV"]
for stream, file in ((1, given["OUT"]), (2, given["ERR"])):
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)

if sys.argv[0] == "sslm":
    from sslm_platform.cli import main

    main()
else:
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
