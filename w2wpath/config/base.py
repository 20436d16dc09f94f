"""What the settings of every stage have in common."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings of one stage; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self, *, without: frozenset[str] = frozenset()) -> str:
        """Return a sha256 over the settings, `without` those that cannot change a result."""
        table = {key: value for key, value in self.model_dump(mode="json").items() if key not in without}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
