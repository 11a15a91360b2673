// Part of the stand-in for gloo's headers, see context.h: ProcessGroupGloo.hpp includes this file, we need nothing of it.
#pragma once
