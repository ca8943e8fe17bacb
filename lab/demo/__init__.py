"""The main job from beginning to end on real daemons, told to a person: `script/demo`.

`story` tells it, in six acts; each sentence that claims something is checked
before it is printed, and the exit status says whether all of them held. Where
it plays is a `Stage`: `namespaces` (containers of the lab) or `here` (private
instances on high ports of loopback, for containers that allow no namespaces).
"""
