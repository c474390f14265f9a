// The browser runtime's sources include this header and use nothing of it. Stands in for one that the apache-tvm wheel
// leaves out.
#pragma once
