import json, time
from pathlib import Path
import pytest
from tests.compat.conftest import lines
from tests.compat.test_schemathesis import own_stack

def test_serve(own_stack):
    ended = own_stack.create(lines(3)); own_stack.ended(ended.id)
    Path('/tmp/scratch/g_live/at.json').write_text(json.dumps({"url": own_stack.api.url, "key": own_stack.key, "log": str(own_stack.api.log_path), "batch": ended.id}))
    until = time.time()+2400
    while time.time() < until and not Path('/tmp/scratch/g_live/stop').exists(): time.sleep(0.5)
