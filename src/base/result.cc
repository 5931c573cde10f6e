#include "base/result.h"

namespace candor {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return 2;
    case ErrorCode::kInvalidArgument:
      return 3;
    case ErrorCode::kResource:
      return 4;
    case ErrorCode::kInterrupted:
      return 130;
    case ErrorCode::kInternal:
      return 70;
  }
  return 70;
}

}  // namespace candor
