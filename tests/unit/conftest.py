"""How hypothesis works here: a slow machine is no fault of the code.

``pytest --hypothesis-profile=thorough`` looks for longer.
"""

from hypothesis import HealthCheck, settings

OPTIONS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("quick", max_examples=25, **OPTIONS)
settings.register_profile("thorough", max_examples=1000, **OPTIONS)
settings.load_profile("quick")
